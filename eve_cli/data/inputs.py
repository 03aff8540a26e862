"""What alignment learns from: clips, instructions and captions of the result, and never the result itself."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from eve_cli.data import frames as pixels
from eve_cli.data.looks import draw_look
from eve_cli.data.sample import Dropped, Listing, check_text, clip_path, kind_of
from eve_cli.data.world.edits import ALIGNED_TASKS, sample_edit
from eve_cli.data.world.feed import drifting
from eve_cli.data.world.render import render
from eve_cli.errors import InputError, UsageError
from eve_cli.storage import jsonl
from eve_cli.storage.paths import expanded
from eve_cli.tasks import TASKS

INPUTS = "inputs.jsonl"
NEEDED = ("video", "instruction", "output_caption")
TEXTS = (*NEEDED, "task", "input_caption")
NOTES = ("id", "source", "license", "writer", "changed")
"""Keys that say where a row comes from; nothing is computed from them."""
ALLOWED = (*TEXTS, "start", "end", *NOTES)
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
    data: str, seed: int = 0, photos: Tensor | None = None, photo_share: float = 0.0, length: int = 1
) -> WorldInputs | FileInputs:
    """The inputs that `--data` names: `world`, or a .jsonl file, alone or as `inputs.jsonl` in a folder.

    InputError if a clip of a file has fewer than `length` frames.
    """
    if data == "world":
        return WorldInputs(seed, photos, photo_share)
    path = expanded(data)
    if path.is_dir():
        path = path / INPUTS
    if path.suffix == ".jsonl" and path.is_file():
        return FileInputs.open(path, length)
    raise UsageError(
        f"--data {data} is neither `world`, a .jsonl file, nor a folder with an {INPUTS}: write one with a "
        "row for each clip and instruction."
    )


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
    """A line of a file of inputs; the clip is the part of the video from `start` until before `end` (seconds)."""

    video: Path
    instruction: str
    caption: str
    task: str
    shown: str
    start: float | None = None
    end: float | None = None


class FileInputs:
    """Rows of a JSON lines file: video (its path relative to the file), instruction, output_caption, and if known task,
    input_caption, start and end."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.cache: pixels.ClipCache | None = None

    @classmethod
    def open(cls, file: Path, length: int = 1) -> FileInputs:
        """Reads and checks all rows; InputError naming the first that is wrong, or if there is none."""
        listing = scan(file, length)
        if listing.dropped:
            first, others = listing.dropped[0], len(listing.dropped) - 1
            more = f" ({others} more cannot be used; `eve data check --frames {length}` lists them)" if others else ""
            raise InputError(f"{first.where}: {first.reason}{more}.")
        if not listing.items:
            raise InputError(f"{file} has no rows: each line needs {', '.join(NEEDED)}.")
        return cls(listing.items)

    def points(self, numbers: Sequence[int], length: int, side: int) -> Points:
        """A part of each row's clip, another one each time its turn comes; too short clips are an InputError."""
        self.cache = self.cache or pixels.ClipCache(round(side * 1.25))
        clips, rows = [], []
        for number in numbers:
            row = self.rows[number % len(self.rows)]
            rng = random.Random(f"point {number}")
            shown = _shown(row, self.cache)
            if len(shown) < length:
                raise InputError(f"{row.video} has {len(shown)} frames; the model's windows need {length}.")
            clip = self.cache.read(row.video, shown[rng.randint(0, len(shown) - length)], length)
            clips.append(pixels.square(clip, side, rng if number >= len(self.rows) else None))
            rows.append((row.instruction, row.caption, row.task, row.shown))
        return _points(clips, rows)


def _shown(row: Row, cache: pixels.ClipCache) -> range:
    """The numbers of the frames of a row's clip."""
    if row.start is None and row.end is None:
        return range(cache.length(row.video))
    return pixels.timing(row.video).between(row.start, row.end)


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


def scan(file: Path, length: int = 1) -> Listing[Row]:
    """The rows of a file that can be used, and those that cannot; each video is opened once.

    A clip of fewer than `length` frames cannot be used.
    """
    rows: list[Row] = []
    dropped: list[Dropped] = []
    for number, line in jsonl.lines(file):
        try:
            rows.append(_row(line, file.parent, length))
        except InputError as error:
            dropped.append(Dropped(f"{file.name}:{number}", str(error).rstrip(".")))
    return Listing(rows, dropped)


def _row(line: str, home: Path, length: int) -> Row:
    row = jsonl.loads(line, "the row")
    for key in row:
        if key not in ALLOWED:
            raise InputError(f"unknown key {key!r}; known are {', '.join(ALLOWED)}.")
    for key in TEXTS:
        check_text(row.get(key), key, key in NEEDED)
    task = row.get("task") or "unknown"
    if task not in (*TASKS, "unknown"):
        raise InputError(f"unknown task {task!r}; known are {', '.join(TASKS)}.")
    start, end = (_seconds(row.get(key), key) for key in ("start", "end"))
    path = clip_path(home, row["video"], "video")
    if kind_of(path) != "video":
        raise InputError(f"{row['video']!r} is no video.")
    try:
        frames = len(pixels.timing(path).between(start, end))
    except InputError as error:
        raise InputError(f"cannot be read: {str(error).replace(str(path), 'it')}") from None
    if frames < length:
        raise InputError(f"too short: {frames} frames, of which {length} are needed.")
    return Row(path, row["instruction"], row["output_caption"], task, row.get("input_caption") or "", start, end)


def _seconds(value: object, key: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InputError(f"{key} must be a number of seconds, not {value!r}.")
    return float(value)
