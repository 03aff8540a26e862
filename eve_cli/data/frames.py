"""Pixels of pictures and videos at a training size."""

from __future__ import annotations

import random
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from eve_cli.data.sample import kind_of
from eve_cli.errors import InputError
from eve_cli.media.decode import VideoReader

LONGEST = 240  # frames kept of a video
KEPT_BYTES = 1 << 30


def read(path: Path, frames: int = LONGEST, short_side: int | None = None) -> Tensor:
    """The first frames of a picture (one) or a video as uint8 (frames, 3, height, width); InputError if it cannot be.

    `short_side` gives the size; the aspect stays as it is.
    """
    if kind_of(path) == "picture":
        return _picture(path, short_side)
    with VideoReader(path) as plain:
        size = _fitted(plain.info.width, plain.info.height, short_side)
    with VideoReader(path, size=size, max_frames=frames) as video:
        pictures = [torch.from_numpy(np.array(frame.rgb)) for frame in video]
    if not pictures:
        raise InputError(f"{path} has no frames.")
    return torch.stack(pictures)


def square(clip: Tensor, side: int, rng: random.Random | None = None) -> Tensor:
    """A square cut (frames, 3, side, side) in 0-1: the middle, or with `rng` any part, often mirrored."""
    return crop(clip, (side, side), rng)


def crop(clip: Tensor, size: tuple[int, int], rng: random.Random | None = None) -> Tensor:
    """A cut (frames, 3, *size) of a shape (height, width): the largest in the middle, or with `rng` any part of at
    least 3/4 of that height, often mirrored."""
    height, width = clip.shape[-2:]
    tall = min(height, width * size[0] // size[1])
    if rng is not None:
        tall = rng.randint(max(1, round(tall * 0.75)), tall)
    wide = min(width, max(1, round(tall * size[1] / size[0])))
    top, left = (height - tall) // 2, (width - wide) // 2
    if rng is not None:
        top, left = rng.randint(0, height - tall), rng.randint(0, width - wide)
    cut = clip[..., top : top + tall, left : left + wide].float() / 255
    if (tall, wide) != size:
        cut = F.interpolate(cut, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    return cut.flip(-1) if rng is not None and rng.random() < 0.5 else cut


class ClipCache:
    """Clips that were read, kept in memory as long as there is room."""

    def __init__(self, short_side: int, room: int = KEPT_BYTES) -> None:
        self.short_side, self.room, self.used = short_side, room, 0
        self.clips: OrderedDict[Path, Tensor] = OrderedDict()

    def read(self, path: Path) -> Tensor:
        """The frames (frames, 3, height, width) of a file."""
        if path in self.clips:
            self.clips.move_to_end(path)
            return self.clips[path]
        clip = read(path, short_side=self.short_side)
        self.clips[path] = clip
        self.used += clip.numel()
        while self.used > self.room and len(self.clips) > 1:
            self.used -= self.clips.popitem(last=False)[1].numel()
        return clip


def _picture(path: Path, short_side: int | None) -> Tensor:
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            size = _fitted(*upright.size, short_side)
            if size is not None and size != upright.size:
                upright = upright.resize(size, Image.Resampling.BICUBIC)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as a picture: {error}.") from None
    return torch.from_numpy(np.array(upright)).permute(2, 0, 1).unsqueeze(0).contiguous()


def _fitted(width: int, height: int, short_side: int | None) -> tuple[int, int] | None:
    if short_side is None:
        return None
    scale = short_side / min(width, height)
    return max(short_side, round(width * scale)), max(short_side, round(height * scale))
