"""A few windows of an edit, at several settings, before all of it: the clip is read and encoded once."""

from __future__ import annotations

import json
import math
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import torch

from eve_cli import registry
from eve_cli.editing import record
from eve_cli.editing.contract import Guidance
from eve_cli.editing.folder import RunFolder, write_atomically
from eve_cli.editing.guard import Event, Guard
from eve_cli.editing.loading import LoadedModel, load_model
from eve_cli.editing.methods import METHODS
from eve_cli.editing.options.sdedit import SDEditOptions
from eve_cli.editing.render import finisher, small_frames
from eve_cli.editing.request import EditRequest
from eve_cli.editing.session import draft, edited, unknown_words
from eve_cli.editing.shelf import Shelf, make, tidy
from eve_cli.editing.source import FindCuts, encode, find_shots, pictures, stored
from eve_cli.editing.watcher import Watcher
from eve_cli.editing.windows import Window
from eve_cli.errors import InputError
from eve_cli.media.clip import Picture, VideoInfo
from eve_cli.settings import from_mapping

Show = Literal["three", "all"]
FRAMEWISE = ("per_frame", "copy")  # no frame of theirs depends on another one
SHOWN_HEIGHT, WHOLE = 360, 4
"""Height of the pictures that are given back; a stretch of up to so many windows is shown whole."""


@dataclass(frozen=True)
class Piece:
    """A window that is shown. It is `exact` if the full edit makes just these frames.

    Otherwise only its noise is that of the full edit, frame by frame: it starts anew, where the full edit goes on with
    what is edited before it.
    """

    window: Window
    exact: bool


@dataclass(frozen=True)
class Cell:
    """One choice of values, and what it makes of each piece: pictures (3, height, width)."""

    request: EditRequest
    values: Mapping[str, Any]
    pieces: list[list[Picture]]


@dataclass(frozen=True)
class Preview:
    """What is shown: the pieces of the source, and the same of each cell; `fps` are frames a second."""

    info: VideoInfo
    plan: Mapping[str, Any]
    pieces: list[Piece]
    source: list[list[Picture]]
    cells: list[Cell]
    fps: float
    unknown: list[str]


@torch.inference_mode()
def preview(
    request: EditRequest,
    lists: Mapping[str, Sequence[Any]],
    show: Show = "three",
    watcher: Watcher | None = None,
    *,
    load: Callable[[EditRequest], LoadedModel] = load_model,
    find_cuts: FindCuts | None = None,
) -> Preview:
    """Edits a few windows for every choice of values; `lists` are values by setting, none of them for `strengths`."""
    watcher = watcher or Watcher()
    seed = secrets.randbelow(2**31) if request.seed is None else request.seed
    request = request.changed(seed=None if "seed" in lists else seed)
    registry.pick(METHODS, request.method, "method")
    info, model = record.check_input(request), load(request)
    shelf = Shelf(request, model)
    shots, times = survey(request, model, shelf, find_cuts)
    lists = lists or strengths(request, model)
    mishaps: list[Event] = []
    guard = Guard(model.editor, request.on_oom, watcher.note, mishaps.append)
    cells, pieces, plan, source = [], [], {}, []
    choices = list(combined(lists))
    for number, values in enumerate(choices):
        chosen = request.changed(**values)
        plan = draft(chosen.changed(output=Path("preview.mp4")), model, shots)
        pieces = choose(plan, show)
        folder = shelf.open(plan)
        if not number:
            watcher.found(info, plan, unknown_words(request, model), shelf.path)
        for done, piece in enumerate(pieces):
            work(plan, piece.window, guard, folder)
            watcher.progress("edit", number * len(pieces) + done + 1, len(choices) * len(pieces))
        shown = [list(frames(plan, piece.window, guard, folder, times)) for piece in pieces]
        source = source or [[before for before, _ in each] for each in shown]
        cells.append(Cell(chosen, values, [[after for _, after in each] for each in shown]))
    if mishaps:
        shutil.rmtree(shelf.path, ignore_errors=True)
        pieces = [Piece(piece.window, False) for piece in pieces]
    tidy()
    return Preview(info, plan, pieces, source, cells, float(info.fps), unknown_words(request, model))


def strengths(request: EditRequest, model: LoadedModel) -> dict[str, list[float]]:
    """Weaker, as asked for, and stronger."""
    if isinstance(own := request.options, SDEditOptions):
        shares = (own.strength + more for more in (-0.25, 0.0, 0.2))
        return {"strength": [round(share, 2) for share in shares if 0 < share <= 1]}
    scale = model.editor.settings.text_cfg if request.text_cfg is None else request.text_cfg
    return {"text_cfg": [float(f"{scale * factor:.2g}") for factor in (0.7, 1.0, 1.5)]}


def combined(lists: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every choice of one value from each list; the last list changes fastest."""
    if not lists:
        yield {}
        return
    first, *rest = lists
    for value in lists[first]:
        for others in combined({name: lists[name] for name in rest}):
            yield {first: value, **others}


def survey(
    request: EditRequest, model: LoadedModel, shelf: Shelf, find_cuts: FindCuts | None
) -> tuple[list[range], list[Fraction]]:
    """The shots and the times of all frames; read once for all previews of a clip, its small frames kept."""
    file = shelf.path / "survey.json"
    if file.is_file():
        known = json.loads(file.read_text(encoding="utf-8"))
        return [range(*shot) for shot in known["shots"]], [Fraction(time) for time in known["times"]]
    make(shelf.path / "source")
    times: list[Fraction] = []
    folder = RunFolder(shelf.path, shelf.path / "source")
    shots = find_shots(request, stored(pictures(request, model.editor, times), folder), find_cuts)
    known = {"shots": [[shot.start, shot.stop] for shot in shots], "times": [str(time) for time in times]}
    write_atomically(file, json.dumps(known).encode())
    return shots, times


def choose(plan: Mapping[str, Any], show: Show) -> list[Piece]:
    """All windows; or three, from the longest shots where there are cuts: the first, the middle and the last."""
    windows = [Window(**each) for each in plan["windows"]]
    if show == "all":
        return [Piece(window, True) for window in windows]
    shots = sorted((range(*shot) for shot in plan["record"]["shots"]), key=len, reverse=True)[:3]
    wanted = [(shot, 0.0) for shot in shots]
    wanted += [(shots[0], part) for part in (1.0, 0.5)][: 3 - len(shots)]
    found: dict[int, Piece] = {}
    for shot, part in wanted:
        inside = [window for window in windows if window.start in shot]
        piece = as_shown(plan["request"], inside[round(part * (len(inside) - 1))], part)
        found.setdefault(piece.window.index, piece)
    return sorted(found.values(), key=lambda piece: piece.window.start)


def as_shown(request: Mapping[str, Any], window: Window, part: float) -> Piece:
    """A window whole, where the full edit needs nothing before it; else one at this part of it that starts anew."""
    length, together = request["window"], request["long"] == "together"
    if request["method"] in FRAMEWISE or (
        not window.overlap and len(window.frames) <= (WHOLE if together else 1) * length
    ):
        return Piece(window, True)
    start = window.start + math.floor(part * max(len(window.frames) - length, 0))
    if together and request["keyframes"]:
        start -= (start - window.start) % request["keyframes"]
    return Piece(Window(-1 - start, start, min(start + length, window.stop), 0), False)


def work(plan: Mapping[str, Any], window: Window, guard: Guard, folder: RunFolder) -> None:
    """Edits a window, unless it is there already."""
    if folder.has_window(window.index):
        return
    request = from_mapping(EditRequest, plan["request"], "plan")
    encode(folder, guard, window.frames)
    reference = (
        folder.window(window.index - 1)[-window.overlap :]
        if request.method not in FRAMEWISE and window.overlap
        else None
    )
    folder.save_window(window.index, *edited(request, Guidance.of(request), guard, folder, window, reference))


def frames(
    plan: Mapping[str, Any], window: Window, guard: Guard, folder: RunFolder, times: Sequence[Fraction]
) -> Iterator[tuple[Picture, Picture]]:
    """Source and edit of each new frame of a window, at most `SHOWN_HEIGHT` high."""
    from eve_cli.media.compose import resized
    from eve_cli.media.decode import VideoReader

    request = from_mapping(EditRequest, plan["request"], "plan")
    first = times[window.new.start]
    with VideoReader(request.input, None if window.new.start == 0 and not request.start else first) as reader:
        shown = iter(reader)
        for before, after, effect in small_frames({"windows": [asdict(window)]}, guard, folder):
            finish = finisher(request, before, after, effect)
            for number in range(len(after)):
                frame = next(shown, None)
                if frame is None:
                    raise InputError(f"{request.input}: ended earlier than before; start the preview again.")
                pair = finish(number, frame.rgb)
                _, height, width = pair[0].shape
                less = min(1.0, SHOWN_HEIGHT / height)
                size = (max(2, round(width * less / 2) * 2), max(2, round(height * less / 2) * 2))
                yield resized(pair[0], *size), resized(pair[1], *size)
