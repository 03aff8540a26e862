"""Edits of the world as files: clips, the truth behind them, and tables that name them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from torch import Tensor

from eve_cli.data.world.edits import SAMPLERS, RenderedEdit, WorldEdit, render_edit, sample_edit
from eve_cli.data.world.render import Rendering
from eve_cli.errors import OutputError, UsageError
from eve_cli.media.clip import Picture
from eve_cli.media.compose import grid, resized, save_png, strip
from eve_cli.media.encode import VideoWriter
from eve_cli.storage.paths import expanded

EDITS, TRIPLETS = "edits.jsonl", "triplets.jsonl"
SHOWN, TALLEST = 6, 160  # frames in the picture of an edit, and their height in pixels


@dataclass(frozen=True)
class Export:
    """What is written: ``count`` edits of ``tasks`` (empty: of any of the seven), ``size`` as (width, height)."""

    count: int = 100
    size: tuple[int, int] = (64, 64)
    frames: int = 8
    fps: float = 8.0
    tasks: tuple[str, ...] = ()
    seed: int = 0
    held_out: bool = False

    def __post_init__(self) -> None:
        for task in self.tasks:
            if task not in SAMPLERS:
                raise UsageError(f"{task!r} is not a task; known are {', '.join(SAMPLERS)}.")

    def edits(self) -> Iterator[WorldEdit]:
        """The edits, a pure function of these settings; the tasks take turns."""
        for number in range(self.count):
            task = self.tasks[number % len(self.tasks)] if self.tasks else None
            yield sample_edit(self.seed * 1_000_003 + number, task, self.held_out, frames=range(self.frames))


def write(folder: Path, export: Export, overwrite: bool = False, on_edit: Callable[[int], None] | None = None) -> Path:
    """Writes the edits into a folder atomically; ``on_edit`` gets the number done.

    OutputError if the folder holds something, unless ``overwrite`` is set and an export made it.
    """
    folder = expanded(folder).absolute()
    _check(folder, overwrite)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
            fresh = Path(scratch) / "new"
            fresh.mkdir()
            _write_all(fresh, export, on_edit)
            if folder.exists():
                folder.rename(Path(scratch) / "old")
            fresh.rename(folder)
    except OSError as error:
        raise OutputError(f"The edits cannot be written to {folder}: {error.strerror or error}.") from error
    return folder


def _check(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file; name a folder.")
    if any(folder.iterdir()):
        if not overwrite:
            raise OutputError(f"{folder} is not empty; choose another --out or give --overwrite.")
        if not (folder / EDITS).is_file():
            raise OutputError(
                f"{folder} is not empty and holds no {EDITS}, so it is not replaced; choose another --out."
            )


def _write_all(folder: Path, export: Export, on_edit: Callable[[int], None] | None) -> None:
    with (folder / EDITS).open("w", encoding="utf-8") as edits, (folder / TRIPLETS).open("w", encoding="utf-8") as rows:
        for number, edit in enumerate(export.edits()):
            home = folder / f"{number:06d}"
            home.mkdir()
            drawn = render_edit([edit], export.frames, export.size, truth=True)
            paths = {name: f"{home.name}/{file}" for name, file in _write_one(home, edit, drawn, export.fps).items()}
            row = {
                "input": paths.pop("input"),
                "output": paths.pop("output"),
                "instruction": edit.instruction,
                "input_caption": edit.source_caption,
                "output_caption": edit.caption,
                "task": edit.task,
            }
            rows.write(json.dumps(row) + "\n")
            edits.write(json.dumps(row | paths | described(edit)) + "\n")
            if on_edit:
                on_edit(number + 1)


def described(edit: WorldEdit) -> dict[str, Any]:
    """The scenes of an edit as plain values, with the thing (its number) and the look that it is about."""
    return {
        "subject": edit.subject,
        "look": edit.look,
        "scene": asdict(edit.source),
        "edited_scene": asdict(edit.target),
    }


def _write_one(home: Path, edit: WorldEdit, drawn: RenderedEdit, fps: float) -> dict[str, str]:
    source, edited = pictures(drawn.source[0]), pictures(drawn.edited[0])
    for name, clip in (("source.mp4", source), ("edited.mp4", edited)):
        write_clip(home / name, clip, fps)
    save_png(grid([[_strip(source)], [_strip(edited)]], 2), home / "strip.png")
    save_file(truth(edit, drawn), home / "truth.safetensors")
    (home / "truth.safetensors").chmod(0o644)  # safetensors writes files that only their owner can read
    return {"input": "source.mp4", "output": "edited.mp4", "strip": "strip.png", "truth": "truth.safetensors"}


def _strip(clip: Sequence[Picture]) -> Picture:
    """Some of the frames in a row, small ones."""
    wide = strip(clip, SHOWN, 2)
    _, height, width = wide.shape
    return wide if height <= TALLEST else resized(wide, round(width * TALLEST / height), TALLEST)


def pictures(frames: Tensor) -> list[Picture]:
    """Frames (frames, 3, height, width) in [0, 1] as uint8 pictures."""
    return list((frames.clamp(0, 1) * 255).round().byte().numpy())


def write_clip(path: Path, clip: Sequence[Picture], fps: float, crf: float | None = None) -> None:
    """Encodes pictures as a silent video."""
    with VideoWriter(path, size=(clip[0].shape[2], clip[0].shape[1]), fps=fps, crf=crf) as writer:
        for picture in clip:
            writer.write(np.ascontiguousarray(picture))


def truth(edit: WorldEdit, drawn: RenderedEdit) -> dict[str, Tensor]:
    """What the renderer knows of one edit, by name; ``source.`` and ``edited.`` stand before the scenes' own tensors.

    ``changed`` (frames, height, width) is 1 where the edit acts; ``masks`` (things, frames, height, width) hold shares
    of 255; ``depth`` (frames, height, width) is 0 nearest; ``flow`` (frames - 1, 2, height, width) is in pixels to
    the next frame, x first; ``visible`` (frames - 1, height, width) is 1 where the point is still seen there.
    """
    tensors = {"changed": drawn.changed[0].byte()}
    for name, rendering, scene in (("source", drawn.before, edit.source), ("edited", drawn.after, edit.target)):
        stored = _stored(rendering, len(scene.things))
        tensors |= {f"{name}.{key}": value.contiguous() for key, value in stored.items()}
    return tensors


def _stored(rendering: Rendering, things: int) -> dict[str, Tensor]:
    stored = {"masks": (rendering.masks[0, :things] * 255).round().byte(), "depth": rendering.depth[0].half()}
    if rendering.flow is not None and rendering.visible is not None:
        stored |= {"flow": rendering.flow[0].half(), "visible": rendering.visible[0].byte()}
    return stored
