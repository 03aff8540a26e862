"""Photographs without captions, cropped to one size, in memory."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from eve_cli.data import frames
from eve_cli.data.folders import scan
from eve_cli.errors import InputError

Split = Literal["train", "test", "all"]
TEST_EVERY = 11


def load(
    folder: Path, side: int | tuple[int, int] = 64, cuts: int = 5, split: Split = "train", seed: int = 0
) -> Tensor:
    """Cuts (n, 3, side, side) or (n, 3, height, width), uint8, of the pictures below a folder: `cuts` of each.

    The first is the largest in the middle, the others are random; none is squeezed.
    Every eleventh picture belongs to the test split. Files that cannot be read are passed over; InputError if none can.
    """
    rng = random.Random(seed)
    size = (side, side) if isinstance(side, int) else side
    crops: list[Tensor] = []
    pictures = [item for item in scan(folder, caption_needed=False).items if item.kind == "picture"]
    for number, item in enumerate(pictures):
        if split != "all" and (number % TEST_EVERY == 0) != (split == "test"):
            continue
        try:
            picture = frames.read(item.path, short_side=2 * min(size))
        except InputError:
            continue
        for cut in (frames.crop(picture, size, rng if number else None) for number in range(cuts)):
            crops.append((cut * 255).round().byte())
    if not crops:
        raise InputError(f"{folder} holds no picture that can be read.")
    return torch.cat(crops)


def mirrored(photos: Tensor, rng: random.Random) -> Tensor:
    """One of the photographs (1, 3, height, width) in 0-1, in half of the cases mirrored."""
    photo = photos[rng.randrange(len(photos))].float().unsqueeze(0) / 255
    return photo.flip(-1) if rng.random() < 0.5 else photo
