"""Photographs without captions, cut to squares and held in memory."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from eve_cli.data import frames
from eve_cli.data.folders import scan
from eve_cli.errors import InputError

Split = Literal["train", "test", "all"]
TEST_EVERY = 11


def load(folder: Path, side: int = 64, cuts: int = 5, split: Split = "train", seed: int = 0) -> Tensor:
    """Squares (n, 3, side, side), uint8, of the pictures below a folder: `cuts` of each.

    The first is the middle, the second the whole squeezed, as the editor sees wide clips, the others are random.
    Every eleventh picture belongs to the test split. Files that cannot be read are passed over; InputError if none can.
    """
    rng = random.Random(seed)
    squares: list[Tensor] = []
    pictures = [item for item in scan(folder, caption_needed=False).kept if item.kind == "picture"]
    for number, item in enumerate(pictures):
        if split != "all" and (number % TEST_EVERY == 0) != (split == "test"):
            continue
        try:
            picture = frames.read(item.path, short_side=2 * side)
        except InputError:
            continue
        squares += [_cut(picture, side, cut, rng) for cut in range(cuts)]
    if not squares:
        raise InputError(f"{folder} holds no picture that can be read.")
    return torch.cat(squares)


def mirrored(photos: Tensor, rng: random.Random) -> Tensor:
    """One of the squares (1, 3, side, side) in 0-1, in half of the cases mirrored."""
    photo = photos[rng.randrange(len(photos))].float().unsqueeze(0) / 255
    return photo.flip(-1) if rng.random() < 0.5 else photo


def _cut(picture: Tensor, side: int, number: int, rng: random.Random) -> Tensor:
    if number == 1:
        cut = F.interpolate(picture.float() / 255, size=(side, side), mode="bicubic", antialias=True)
    else:
        cut = frames.square(picture, side, rng if number else None)
    return (cut.clamp(0, 1) * 255).round().byte()
