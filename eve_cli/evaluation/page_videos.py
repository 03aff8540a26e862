"""Small videos that every browser plays, for the page of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from eve_cli.evaluation.metrics.base import EditClip
from eve_cli.media.encode import VideoWriter

FOLDER = "media"
MAX_SIDE = 320  # pixels
FPS = 8.0  # of clips that are folders of images


def write_missing(clip: EditClip, files: Mapping[str, Path]) -> None:
    """Writes the videos of an edit (source, edited, reference) that do not exist yet."""
    for name, path in files.items():
        frames = getattr(clip, name)
        if frames is not None and not path.is_file():
            path.parent.mkdir(exist_ok=True)
            write(path, frames, clip.fps or FPS)


def write(path: Path, frames: Tensor, fps: float) -> None:
    """uint8 frames (n, 3, height, width) as H.264 with even sides, at most MAX_SIDE pixels long."""
    height, width = (_even(side, max(frames.shape[-2:])) for side in frames.shape[-2:])
    if (height, width) != tuple(frames.shape[-2:]):
        frames = F.interpolate(frames.float(), (height, width), mode="bilinear", antialias=True).round().byte()
    with VideoWriter(path, size=(width, height), fps=fps, crf=14, preset="fast") as writer:
        for picture in frames.contiguous().numpy():
            writer.write(picture)


def _even(side: int, longest: int) -> int:
    return max(2, round(side * min(1.0, MAX_SIDE / longest) / 2) * 2)
