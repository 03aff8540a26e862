"""Where one shot ends and the next begins, found in one pass over a clip."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eve_cli.media.clip import Picture

SMALL = 64
BINS = 24


@dataclass(frozen=True)
class CutSettings:
    """A cut's change is `floor` or more, `ratio` times the usual one nearby, `shortest` frames after the last cut."""

    floor: float = 0.15
    ratio: float = 3.0
    around: int = 4
    shortest: int = 8


def small(rgb: Picture) -> Picture:
    """Take about 64 x 64 pixels of a picture (3, height, width), each the mean of a block."""
    _, height, width = rgb.shape
    tall, wide = max(1, height // SMALL), max(1, width // SMALL)
    trimmed = rgb[:, : height // tall * tall, : width // wide * wide]
    blocks = trimmed.reshape(3, height // tall, tall, width // wide, wide)
    return blocks.mean((2, 4), dtype=np.float32).astype(np.uint8)


def _histogram(rgb: Picture) -> npt.NDArray[np.float64]:
    counts = [np.bincount((channel.ravel().astype(np.intp) * BINS) >> 8, minlength=BINS) for channel in rgb]
    return np.concatenate(counts) / rgb.size


def change(before: Picture, after: Picture) -> float:
    """Measure 0-1 how much two small pictures differ, both in their colours and pixel by pixel.

    The geometric mean: motion moves pixels but keeps the colours, a flicker changes colours but little else.
    """
    colors = np.abs(_histogram(before) - _histogram(after)).sum() / 2
    pixels = np.abs(before.astype(np.int16) - after).mean() / 255
    return float(np.sqrt(colors * pixels))


def find_cuts(pictures: Iterable[Picture], settings: CutSettings | None = None) -> Iterator[int]:
    """The number of each frame that begins a new shot, a few frames after it was seen.

    `pictures` are uint8 (3, height, width), all of one size.
    """
    limits = settings or CutSettings()
    window: deque[float] = deque(maxlen=2 * limits.around + 1)
    previous, last_cut, number = None, 0, -1
    for number, picture in enumerate(map(small, pictures)):
        window.append(0.0 if previous is None else change(previous, picture))
        previous = picture
        frame = number - limits.around
        if frame > 0 and _is_cut(list(window), len(window) - 1 - limits.around, limits):
            if frame - last_cut >= limits.shortest:
                yield frame
            last_cut = frame
    for position in range(max(0, len(window) - limits.around), len(window)):
        frame = number - (len(window) - 1 - position)
        if frame > 0 and _is_cut(list(window), position, limits) and frame - last_cut >= limits.shortest:
            yield frame
            last_cut = frame


def _is_cut(changes: list[float], position: int, settings: CutSettings) -> bool:
    neighbours = changes[:position] + changes[position + 1 :]
    usual = float(np.median(neighbours)) if neighbours else 0.0
    value = changes[position]
    return value >= settings.floor and value >= settings.ratio * usual and value >= max(neighbours, default=0.0)


def cuts_of(source: str | os.PathLike[str]) -> list[int]:
    """Read a clip at small size and list the frames that begin a new shot."""
    from eve_cli.media.decode import VideoReader

    with VideoReader(source) as reader:
        scale = SMALL / max(reader.info.width, reader.info.height)
        size = (max(2, round(reader.info.width * scale)), max(2, round(reader.info.height * scale)))
    with VideoReader(source, size=size) as reader:
        return list(find_cuts(frame.rgb for frame in reader))
