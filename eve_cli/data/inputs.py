"""What alignment learns from: clips, instructions and captions of the result, and never the result itself."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from eve_cli.data import frames as pixels
from eve_cli.data.folders import unreadable
from eve_cli.data.looks import draw_look
from eve_cli.data.sample import kind_of
from eve_cli.data.world.edits import ALIGNED_TASKS, sample_edit
from eve_cli.data.world.feed import drifting
from eve_cli.data.world.render import render
from eve_cli.errors import InputError, UsageError
from eve_cli.storage import jsonl
from eve_cli.storage.paths import expanded
from eve_cli.tasks import TASKS

NEEDED = ("video", "instruction", "output_caption")
ALLOWED = (*NEEDED, "task", "input_caption")
BRING = ("add {}", "put {} in the scene", "insert {}", "place {} in the middle", "let {} appear")
STARTS = 8  # frame numbers at which the world's clips begin


@dataclass(frozen=True)
class Points:
    """Data points: clips (n, frames, 3, side, side) in [0, 1], instructions, expected captions, and the tasks.

    `shown` says what the clips show, where that is known; else it is empty.
    """

    frames: Tensor
    instructions: list[str]
    captions: list[str]
    tasks: list[str]
    shown: list[str]


class Inputs(Protocol):
    """A fixed list of data points: the same number always gives the same point."""

    def points(self, numbers: Sequence[int], length: int, side: int) -> Points: ...


def open_inputs(
    data: str, seed: int = 0, photos: Tensor | None = None, photo_share: float = 0.0
) -> WorldInputs | FileInputs:
    """The inputs that `--data` names: `world`, or a .jsonl file, alone or as `inputs.jsonl` in a folder."""
    if data == "world":
        return WorldInputs(seed, photos, photo_share)
    path = expanded(data)
    if path.is_dir():
        path = path / "inputs.jsonl"
    if path.suffix == ".jsonl" and path.is_file():
        return FileInputs.open(path)
    raise UsageError(f"--data {data} is neither `world`, a .jsonl file, nor a folder with an inputs.jsonl.")


@dataclass(frozen=True)
class WorldInputs:
    """Sources of the world's edits, the seven tasks in turn, and photographs that a camera drifts over."""

    seed: int = 0
    photos: Tensor | None = None
    photo_share: float = 0.0

    def points(self, numbers: Sequence[int], length: int, side: int) -> Points:
        """Clips of the sources alone; what an edit makes of them is never drawn."""
        clips, rows = [], []
        for number in numbers:
            rng = random.Random(f"point {self.seed} {number}")
            if self.photos is not None and rng.random() < self.photo_share:
                look = draw_look(rng)
                clips.append(drifting(self.photos, length, rng))
                rows.append((look.instruction(rng), f"a photo, {rng.choice(look.captions)}", look.task, "a photo"))
            else:
                edit = sample_edit(rng.randrange(2**40), ALIGNED_TASKS[number % len(ALIGNED_TASKS)])
                start = rng.randrange(STARTS)
                clips.append(render([edit.source], range(start, start + length), side).frames[0])
                rows.append((edit.instruction, edit.caption, edit.task, edit.source_caption))
        return _points(clips, rows)


@dataclass(frozen=True)
class Row:
    """A line of a file of inputs."""

    video: Path
    instruction: str
    caption: str
    task: str
    shown: str


class FileInputs:
    """Rows of a JSON lines file: video (its path relative to the file), instruction, output_caption, and if known task
    and input_caption."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.cache: pixels.ClipCache | None = None

    @classmethod
    def open(cls, file: Path) -> FileInputs:
        """Reads and checks all rows; InputError naming the row that is wrong, or if there is none."""
        rows = [_row(line, f"{file.name}:{number}", file.parent) for number, line in jsonl.lines(file)]
        if not rows:
            raise InputError(f"{file} has no rows: each line needs {', '.join(NEEDED)}.")
        return cls(rows)

    def points(self, numbers: Sequence[int], length: int, side: int) -> Points:
        """A part of each row's video, another one each time its turn comes; too short videos are an InputError."""
        self.cache = self.cache or pixels.ClipCache(round(side * 1.25))
        clips, rows = [], []
        for number in numbers:
            row = self.rows[number % len(self.rows)]
            rng = random.Random(f"point {number}")
            clip = self.cache.read(row.video)
            if len(clip) < length:
                raise InputError(f"{row.video} has {len(clip)} frames; the model's windows need {length}.")
            start = rng.randint(0, len(clip) - length)
            clips.append(pixels.square(clip[start : start + length], side, rng if number >= len(self.rows) else None))
            rows.append((row.instruction, row.caption, row.task, row.shown))
        return _points(clips, rows)


class PersonalInputs:
    """Points about what a LoRA knows, made from other points: edits in its style, or that bring its subject in.

    What the clips show then holds the token: alignment regenerates them from it with the LoRA (EVE, section 4.4).
    """

    def __init__(self, inputs: Inputs, token: str, kind: Literal["subject", "style"]) -> None:
        self.inputs, self.token, self.kind = inputs, token, kind

    def points(self, numbers: Sequence[int], length: int, side: int) -> Points:
        """Points of the other inputs with other texts; InputError where those do not say what their clips show."""
        points = self.inputs.points(numbers, length, side)
        if not all(points.shown):
            raise InputError("A LoRA paints its own inputs: each row needs an input_caption that says what to paint.")
        if self.kind == "style":
            shown, captions = (
                [f"{text}, in the style of {self.token}" for text in t] for t in (points.shown, points.captions)
            )
            return replace(points, shown=shown, captions=captions)
        rng = [random.Random(f"subject {number}") for number in numbers]
        instructions = [r.choice(BRING).format(self.token) for r in rng]
        captions = [f"{text} and {self.token}" for text in points.shown]
        return replace(points, instructions=instructions, captions=captions, tasks=["add"] * len(numbers))


def _points(clips: Sequence[Tensor], rows: Sequence[tuple[str, str, str, str]]) -> Points:
    return Points(torch.stack(list(clips)), *([row[i] for row in rows] for i in range(4)))


def _row(line: str, where: str, home: Path) -> Row:
    row = jsonl.loads(line, f"{where}: the row")
    for key in row:
        if key not in ALLOWED:
            raise InputError(f"{where}: unknown key {key!r}; known are {', '.join(ALLOWED)}.")
    for key in NEEDED:
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise InputError(f"{where}: {key} is missing or no text.")
    task = row.get("task") or "unknown"
    if task not in (*TASKS, "unknown"):
        raise InputError(f"{where}: unknown task {task!r}; known are {', '.join(TASKS)}.")
    path = home / row["video"]
    if not path.is_file():
        raise InputError(f"{where}: video {row['video']!r} does not exist.")
    if kind_of(path) != "video":
        raise InputError(f"{where}: {row['video']!r} is no video.")
    if fault := unreadable(path):
        raise InputError(f"{where}: {fault}.")
    return Row(path, row["instruction"], row["output_caption"], task, row.get("input_caption") or "")
