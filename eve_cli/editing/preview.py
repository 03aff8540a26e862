"""A few windows of an edit, at several settings, before all of it: the clip is read and encoded once."""

from __future__ import annotations

import json
import math
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from eve_cli.diffusion.windows import Window
from eve_cli.editing import provenance
from eve_cli.editing.edit_plan import EditPlan
from eve_cli.editing.pipeline import Load, load_for, window_clip, window_content
from eve_cli.editing.preview_cache import PreviewCache, make_dir, tidy
from eve_cli.editing.progress import EditCallbacks
from eve_cli.editing.render import finisher, small_frames
from eve_cli.editing.request import EditRequest
from eve_cli.editing.resolve import resolve
from eve_cli.editing.run_dir import RunDir
from eve_cli.editing.source import FindCuts, encode, find_shots, resized_frames, stored
from eve_cli.errors import InputError
from eve_cli.media.clip import Picture, VideoInfo
from eve_cli.methods.options import SDEditOptions
from eve_cli.methods.registry import METHODS, spec
from eve_cli.models.loading import LoadedModel, load_model
from eve_cli.runtime.oom import Event, FallbackRunner
from eve_cli.storage.atomic import write_bytes

Show = Literal["three", "all"]
MAX_HEIGHT, MAX_JOINT_WINDOWS = 360, 4
"""Limits of a preview: the height of its pictures in pixels, and the windows of a joint span that is shown whole."""


@dataclass(frozen=True)
class Piece:
    """A window that is shown. It is `exact` if the full edit makes just these frames.

    Otherwise only its noise is that of the full edit, frame by frame: it is edited independently, where the full edit
    continues from the window before it.
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
    plan: EditPlan
    """Of the last cell."""
    pieces: list[Piece]
    source: list[list[Picture]]
    cells: list[Cell]
    fps: float


@torch.inference_mode()
def preview(
    request: EditRequest,
    lists: Mapping[str, Sequence[Any]],
    show: Show = "three",
    callbacks: EditCallbacks | None = None,
    *,
    load: Load = load_model,
    find_cuts: FindCuts | None = None,
) -> Preview:
    """Edits a few windows for every combination of values; `lists` are values by setting, `strengths` if empty."""
    callbacks = callbacks or EditCallbacks()
    spec(request.method)
    seed = secrets.randbelow(2**31) if request.seed is None else request.seed
    request = request.changed(seed=None if "seed" in lists else seed)
    info = provenance.check_input(request.input, request.start, request.end, request.fps)
    model = load_for(request, load)
    cache, size = PreviewCache(request, model), model.editor.frame_size(info.width, info.height)
    shots, times = scan(request, size, cache, find_cuts)
    combinations = list(combined(lists or strengths(request, model)))
    events: list[Event] = []
    runner = FallbackRunner(model.editor, request.on_oom, callbacks.on_note, events.append)
    cells: list[Cell] = []
    source: list[list[Picture]] = []
    requests = [request.changed(**values, output=Path("preview.mp4")) for values in combinations]
    plans = [resolve(each, model, shots, size) for each in requests]
    pieces = choose(plans[-1], show)
    for number, (plan, values) in enumerate(zip(plans, combinations, strict=True)):
        pieces, run_dir = choose(plan, show), cache.open(plan)
        if not number:
            callbacks.on_plan(plan, model, info, cache.path)
        for done, piece in enumerate(pieces):
            edit_piece(plan, piece.window, runner, run_dir)
            callbacks.on_progress("edit", number * len(pieces) + done + 1, len(combinations) * len(pieces))
        pairs = [list(frames(plan, piece.window, runner, run_dir, times)) for piece in pieces]
        source = source or [[before for before, _ in each] for each in pairs]
        cells.append(Cell(request.changed(**values), values, [[after for _, after in each] for each in pairs]))
    if events:
        shutil.rmtree(cache.path, ignore_errors=True)
        pieces = [Piece(piece.window, False) for piece in pieces]
    tidy()
    return Preview(info, plans[-1], pieces, source, cells, float(info.fps))


def strengths(request: EditRequest, model: LoadedModel) -> dict[str, list[float]]:
    """A weaker, the requested and a stronger setting."""
    if isinstance(options := request.options, SDEditOptions):
        shares = (options.strength + more for more in (-0.25, 0.0, 0.2))
        return {"strength": [round(share, 2) for share in shares if 0 < share <= 1]}
    scale = model.editor.settings.guidance_scale if request.guidance_scale is None else request.guidance_scale
    return {"guidance_scale": [float(f"{scale * factor:.2g}") for factor in (0.7, 1.0, 1.5)]}


def combined(lists: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every choice of one value from each list; the last list changes fastest."""
    if not lists:
        yield {}
        return
    first, *remaining = lists
    for value in lists[first]:
        for combination in combined({name: lists[name] for name in remaining}):
            yield {first: value, **combination}


def scan(
    request: EditRequest, size: tuple[int, int], cache: PreviewCache, find_cuts: FindCuts | None
) -> tuple[list[range], list[Fraction]]:
    """The shots and the times of all frames; read once for all previews of a clip, its frames stored at `size`."""
    file = cache.path / "scan.json"
    if file.is_file():
        content = json.loads(file.read_text(encoding="utf-8"))
        return [range(*shot) for shot in content["shots"]], [Fraction(time) for time in content["times"]]
    make_dir(cache.path / "source")
    times: list[Fraction] = []
    run_dir = RunDir(cache.path, cache.path / "source")
    frames = resized_frames(request.input, request.start, request.end, size, times, request.fps)
    shots = find_shots(request.input, request.scene_cuts, stored(frames, run_dir), find_cuts)
    content = {"shots": [[shot.start, shot.stop] for shot in shots], "times": [str(time) for time in times]}
    write_bytes(file, json.dumps(content).encode())
    return shots, times


def choose(plan: EditPlan, show: Show) -> list[Piece]:
    """All windows; or three, from the longest shots where there are cuts: the first, the middle and the last."""
    if show == "all":
        return [Piece(window, True) for window in plan.windows]
    shots = sorted(plan.shots, key=len, reverse=True)[:3]
    places = [(shot, 0.0) for shot in shots]
    places += [(shots[0], part) for part in (1.0, 0.5)][: 3 - len(shots)]
    pieces: dict[int, Piece] = {}
    for shot, part in places:
        inside = [window for window in plan.windows if window.start in shot]
        piece = preview_piece(plan, inside[round(part * (len(inside) - 1))], part)
        pieces.setdefault(piece.window.index, piece)
    return sorted(pieces.values(), key=lambda piece: piece.window.start)


def preview_piece(plan: EditPlan, window: Window, part: float) -> Piece:
    """A whole window where the full edit does not depend on an earlier one; else an independent part of it."""
    edit, joint = plan.edit, plan.edit.long == "joint"
    is_exact = not window.overlap and len(window.frames) <= (MAX_JOINT_WINDOWS if joint else 1) * edit.window
    if METHODS[edit.method].framewise or is_exact:
        return Piece(window, True)
    start = window.start + math.floor(part * max(len(window.frames) - edit.window, 0))
    if joint and edit.keyframes:
        start -= (start - window.start) % edit.keyframes
    return Piece(Window(-1 - start, start, min(start + edit.window, window.stop), 0), False)


def edit_piece(plan: EditPlan, window: Window, runner: FallbackRunner, run_dir: RunDir) -> None:
    """Edits a window, unless that is done."""
    if run_dir.has_window(window.index):
        return
    encode(run_dir, runner, window.frames)
    clip = window_clip(plan, window, runner, run_dir, independent=METHODS[plan.edit.method].framewise)
    method, guidance = METHODS[plan.edit.method].load()(), plan.edit.guidance
    latents = runner("window", window.name, partial(method.edit, runner.editor, clip, guidance))
    run_dir.save_window(window.index, *window_content(plan, window, runner, clip, guidance, latents))


def frames(
    plan: EditPlan, window: Window, runner: FallbackRunner, run_dir: RunDir, times: Sequence[Fraction]
) -> Iterator[tuple[Picture, Picture]]:
    """Source and edit of each new frame of a window, at most `MAX_HEIGHT` high."""
    from eve_cli.media.compose import resized
    from eve_cli.media.decode import VideoReader

    edit, first = plan.edit, times[window.new.start]
    start = None if window.new.start == 0 and not edit.start else first
    with VideoReader(edit.input, start, fps=edit.fps) as reader:
        source_frames = iter(reader)
        for before, after, effect in small_frames([window], runner, run_dir):
            finish = finisher(edit.size, before, after, effect)
            for number in range(len(after)):
                frame = next(source_frames, None)
                if frame is None:
                    raise InputError(f"{edit.input}: ended earlier than before; start the preview again.")
                pair = finish(number, frame.rgb)
                _, height, width = pair[0].shape
                scale = min(1.0, MAX_HEIGHT / height)
                size = (max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2))
                yield resized(pair[0], *size), resized(pair[1], *size)
