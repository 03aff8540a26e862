"""Pixels of pictures and videos at a training size."""

from __future__ import annotations

import os
import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from eve_cli.data.sample import kind_of
from eve_cli.errors import InputError
from eve_cli.media import probe
from eve_cli.media.clip import VideoInfo
from eve_cli.media.decode import VideoReader

LONGEST = 240  # frames of a video that is read and kept as a whole
KEPT_BYTES = 1 << 30
KEPT_CLIP = 1 << 26  # bytes of a clip that is kept as a whole; of larger ones only what is wanted is decoded
INDEXED = ("mp4", "matroska")  # formats whose packets tell the times of their frames


@dataclass(frozen=True)
class Timing:
    """Upright width and height of a clip, and the times of its frames in seconds; a picture has one, at 0."""

    width: int
    height: int
    times: Sequence[float]

    def between(self, start: float | None = None, end: float | None = None) -> range:
        """The numbers of the frames that are first shown from `start` until before `end` (seconds)."""
        low = sum(time < start for time in self.times) if start else 0
        high = len(self.times) if end is None else sum(time < end for time in self.times)
        return range(low, max(low, high))


def timing(path: Path) -> Timing:
    """Size and times of a file, once for each content that it has had; InputError if it cannot be read.

    Usual videos are not decoded for it, but for their first frame.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    return _timing(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _timing(path: Path, size: int, changed: int) -> Timing:
    if kind_of(path) == "picture":
        _, _, height, width = _picture(path, None).shape
        return Timing(width, height, (0.0,))
    with VideoReader(path) as reader:
        info = reader.info
        times = _packet_times(path, info) or [float(frame.pts) for frame in _smallest(path)]
    if not times:
        raise InputError(f"{path} has no frames.")
    return Timing(info.width, info.height, tuple(times))


def _smallest(path: Path) -> VideoReader:
    return VideoReader(path, size=(16, 16))


def _packet_times(path: Path, info: VideoInfo) -> list[float]:
    """The times that packets have; none where the frames that they give may be others."""
    if info.interlaced or info.timeline.offsets or not any(name in info.container for name in INDEXED):
        return []
    with probe.open_file(info.name, path) as container:
        stream = container.streams[info.stream_index]
        packets = [p for p in probe.quiet_packets(container, stream) if not p.is_discard and not p.is_corrupt]  # pyright: ignore[reportArgumentType]
    times = sorted(float(p.pts * info.time_base - info.origin) for p in packets if p.pts is not None)
    return times if len(set(times)) == len(packets) and abs(times[0] - float(info.start)) < 1e-6 else []


def read_part(path: Path, first: int, count: int, short_side: int | None = None) -> Tensor:
    """`count` frames of a picture or video from number `first` on, as `read` gives them, decoded from the keyframe
    before them."""
    if kind_of(path) == "picture":
        return _picture(path, short_side)
    clip = timing(path)
    start = (clip.times[first - 1] + clip.times[first]) / 2 if first else None
    size = _fitted(clip.width, clip.height, short_side)
    with VideoReader(path, start=start, size=size, max_frames=count) as video:
        pictures = [torch.from_numpy(np.array(frame.rgb)) for frame in video]
    if len(pictures) < count:
        raise InputError(f"{path}: frames {first} to {first + count - 1} cannot all be decoded; encode the clip again.")
    return torch.stack(pictures)


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
    """Clips that were read, kept in memory as long as there is room; of large ones, parts are decoded as needed."""

    def __init__(self, short_side: int, room: int = KEPT_BYTES) -> None:
        self.short_side, self.room, self.used = short_side, room, 0
        self.clips: OrderedDict[Path, Tensor] = OrderedDict()

    def length(self, path: Path) -> int:
        """How many frames a file has."""
        return len(self._whole(path)) if self._is_small(path) else len(timing(path).times)

    def read(self, path: Path, first: int = 0, count: int | None = None) -> Tensor:
        """Frames (frames, 3, height, width) of a file: `count` from number `first` on, or all that follow."""
        if not self._is_small(path):
            count = len(timing(path).times) - first if count is None else count
            return read_part(path, first, count, self.short_side)
        clip = self._whole(path)
        return clip[first : len(clip) if count is None else first + count]

    def _is_small(self, path: Path) -> bool:
        if path in self.clips:
            return True
        clip = timing(path)
        width, height = _fitted(clip.width, clip.height, self.short_side) or (clip.width, clip.height)
        return len(clip.times) <= LONGEST and len(clip.times) * 3 * width * height <= KEPT_CLIP

    def _whole(self, path: Path) -> Tensor:
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
