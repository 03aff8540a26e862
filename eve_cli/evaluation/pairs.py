"""An edit beside its source, and the frames of a video file or a folder of images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from eve_cli.errors import InputError
from eve_cli.media.decode import VideoReader


@dataclass(frozen=True)
class Pair:
    """One edit of one source video. Empty texts are unknown; `edited` is None where there is no edit.

    `video` names the source video, by which statistics are grouped. `mask` is white where the edit may act;
    `reference` is the true edit. Paths are video or image files, or folders of images. `truth` is the
    renderer's data of a world edit (`eve_cli.data.world.export.truth`).
    """

    id: str
    video: str
    task: str
    source: Path
    edited: Path | None
    instruction: str = ""
    input_caption: str = ""
    output_caption: str = ""
    mask: Path | None = None
    reference: Path | None = None
    notes: str = ""
    truth: Path | None = None


@dataclass(frozen=True)
class Footage:
    """The frames of a path: uint8 (frames, 3, height, width), upright RGB; `fps` is None for images."""

    frames: Tensor
    fps: float | None = None

    @classmethod
    def read(cls, path: Path, max_frames: int | None = None) -> Footage:
        """Reads a video, a GIF, an image, or a folder of images in numeric order.

        Grey images become RGB, transparency is dropped. InputError if unreadable or if the sizes of frames differ.
        """
        with VideoReader(path, max_frames=max_frames) as reader:
            frames = [torch.from_numpy(frame.rgb.copy()) for frame in reader]
            still = reader.info.container in ("images", "picture")
            if reader.report.size_changes:
                raise InputError(f"{path}: the images have different sizes.")
            return cls(torch.stack(frames), None if still else float(reader.info.fps))


def unique(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs as a list; InputError naming an id that two of them have."""
    by_id: dict[str, Pair] = {}
    for pair in pairs:
        if pair.id in by_id:
            raise InputError(f"Two edits have the id {pair.id!r}; ids must differ.")
        by_id[pair.id] = pair
    return list(by_id.values())
