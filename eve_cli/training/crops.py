"""Crops and captions of the pictures of a subject or a style."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from eve_cli.data import frames
from eve_cli.data.sample import Item
from eve_cli.models.lora import Kind

CROPS = 4  # of each picture: the whole, and some a little smaller
SMALLEST = 0.85  # side of a crop, as a share of the picture's
DEFAULT_CAPTIONS: dict[Kind, str] = {"subject": "a photo of {}", "style": "a picture in the style of {}"}


def crops(items: Sequence[Item], token: str, kind: Kind, side: int) -> tuple[Tensor, list[str]]:
    """Crops (n * CROPS, 3, side, side) in [0, 1] of n pictures, and their captions.

    A missing caption is made from the token; a caption without the token gets it behind a comma.
    """
    rng = random.Random(0)
    pictures, captions = [], []
    for item in items:
        picture = frames.read(item.path, short_side=2 * side)
        pictures += [frames.square(_crop(picture, rng) if number else picture, side) for number in range(CROPS)]
        caption = item.caption or DEFAULT_CAPTIONS[kind].format(token)
        captions += [caption if token.casefold() in caption.casefold() else f"{caption}, {token}"] * CROPS
    return torch.cat(pictures), captions


def _crop(picture: Tensor, rng: random.Random) -> Tensor:
    """A random crop of a picture (1, 3, height, width); never mirrored, since letters would be."""
    share = rng.uniform(SMALLEST, 1)
    height, width = (round(size * share) for size in picture.shape[-2:])
    top, left = rng.randint(0, picture.shape[-2] - height), rng.randint(0, picture.shape[-1] - width)
    return picture[..., top : top + height, left : left + width]
