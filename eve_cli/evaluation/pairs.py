"""What is judged: an edit beside its source, and the frames that a file or a folder holds."""

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
    """One edit of one source video. Empty texts are not known; `edited` is None where no edit was handed in.

    `video` names the source video, by which statistics are grouped. `mask` is white where the edit may act;
    `reference` is the true edit. Paths are files that can be read as a clip, or folders of pictures. `truth` is what
    the world knows of its edit (`eve_cli.data.world.export.truth`).
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
    """The frames that a path holds: uint8 (frames, 3, height, width), upright RGB; `fps` is None for pictures."""

    frames: Tensor
    fps: float | None = None

    @classmethod
    def read(cls, path: Path, max_frames: int | None = None) -> Footage:
        """A video, a GIF, a picture, or a folder of pictures in the order of their numbers; InputError if it cannot be.

        Greys become RGB, and transparency is dropped. Frames whose size differs from the first one's are an InputError.
        """
        with VideoReader(path, max_frames=max_frames) as reader:
            frames = [torch.from_numpy(frame.rgb.copy()) for frame in reader]
            still = reader.info.container in ("images", "picture")
            if reader.report.size_changes:
                raise InputError(f"{path}: the pictures have different sizes.")
            return cls(torch.stack(frames), None if still else float(reader.info.fps))


def unique(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs as a list; InputError naming an id that two of them have."""
    found: dict[str, Pair] = {}
    for pair in pairs:
        if pair.id in found:
            raise InputError(f"Two edits have the id {pair.id!r}; ids must differ.")
        found[pair.id] = pair
    return list(found.values())
