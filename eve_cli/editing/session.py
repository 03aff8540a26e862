"""A clip's way through an edit: look at it, edit it window by window, render the finished windows."""

import json
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eve_cli import registry
from eve_cli.editing import processes, record
from eve_cli.editing.contract import Clip, EditMethod, Guidance
from eve_cli.editing.effect import effect
from eve_cli.editing.fit import to_bytes, to_floats
from eve_cli.editing.folder import RunFolder, write_atomically
from eve_cli.editing.forecast import Spent, forecast_of, remember
from eve_cli.editing.guard import Guard
from eve_cli.editing.loading import (
    LoadedModel,
    absolute_backbone,
    absolute_loras,
    load_model,
    plan_model,
    versions,
)
from eve_cli.editing.machine import Peak
from eve_cli.editing.methods import METHODS
from eve_cli.editing.render import render
from eve_cli.editing.request import ADAPTER_METHODS, LONG_METHODS, EditRequest, check_output, default_output
from eve_cli.editing.shelf import Shelf
from eve_cli.editing.source import FindCuts, encode, find_shots, pictures, size_of, stored
from eve_cli.editing.watcher import Watcher
from eve_cli.editing.windows import Window, plan_spans, plan_windows
from eve_cli.errors import Unforeseen
from eve_cli.settings import from_mapping, to_mapping

Load = Callable[[EditRequest], LoadedModel]


@dataclass(frozen=True)
class Result:
    """What an edit gave; `change` is the mean absolute difference to the source at the model's size, in [0, 1]."""

    output: Path
    run: Path
    plan: dict[str, Any]
    change: float
    unknown: list[str]
    notes: list[str]
    spent: Spent


def edit(
    request: EditRequest,
    watcher: Watcher | None = None,
    *,
    load: Load = load_model,
    find_cuts: FindCuts | None = None,
) -> Result:
    """Edits a clip; an error leaves no result, and a run folder only if a window was finished."""
    watcher = watcher or Watcher()
    if request.seed is None:
        request = request.changed(seed=secrets.randbelow(2**31))
    request = request.changed(output=request.output or default_output(request))
    check_output(request)
    registry.pick(METHODS, request.method, "method")
    info, spent = record.check_input(request), Spent(watcher.started)
    with spent.on("load"):
        model = load(request)
    folder = RunFolder.create(run_folder(request), request.overwrite)
    try:
        with spent.on("scan"):
            shots = find_shots(request, stored(pictures(request, model.editor), folder), find_cuts)
        plan = draft(request, model, shots)
        folder.save_plan(plan)
        watcher.found(info, plan, unknown_words(request, model), folder.path)
        for word, phrase in model.reworded(request.options.read(request)).items():
            watcher.note(f'"{word}" is read as "{phrase}"')
        if request.reuse_preview and (lent := Shelf(request, model).lend(plan, folder)):
            watcher.note(f"{lent} of {len(plan['windows'])} windows are there already, from eve preview")
        if watcher.foresees:
            with suppress(Unforeseen):
                spent.forecast = forecast_of(plan, model, info)
                watcher.foretold(spent.forecast)
        result = _finish(request, plan, model, folder, watcher, spent)
        remember(result, model)
        return result
    except BaseException:
        if not folder.has_window(0):
            folder.remove()
        raise


def resume(path: Path, watcher: Watcher | None = None, *, load: Load = load_model) -> Result:
    """Goes on with the run in a folder; the result is the same, to the byte, as if it had never stopped."""
    watcher = watcher or Watcher()
    folder = RunFolder.open(path)
    plan = folder.plan
    request = from_mapping(EditRequest, plan["request"], str(folder.plan_path))
    record.check_same_input(request.input, plan["record"]["input"])
    model = load(request)
    record.check_same_model(model, plan["record"]["model"])
    watcher.found(record.check_input(request), plan, unknown_words(request, model), folder.path)
    return _finish(request, plan, model, folder, watcher, Spent(watcher.started))


def assist() -> None:
    """What a process beside the leader does: its part of every window that the leader's run still lacks."""
    processes.join()
    folder = RunFolder(Path(processes.told("")))
    plan = folder.plan
    model = load_model(from_mapping(EditRequest, plan["request"], str(folder.plan_path)))
    with torch.inference_mode():
        edit_windows(plan, Guard(model.editor, "fail"), folder, Watcher())


def rerun(
    path: Path, output: Path | None, overwrite: bool, watcher: Watcher | None = None, *, load: Load = load_model
) -> Result:
    """Does the edit of a run.json again; InputError or ModelError if input or weights are no longer the same."""
    watcher = watcher or Watcher()
    kept = record.read(path)
    record.check_same_input(kept["input"]["path"], kept["input"])
    request = from_mapping(EditRequest, kept["settings"] | {"input": kept["input"]["path"]}, str(path))
    request = request.changed(output=output or record.result_of(path, kept), overwrite=overwrite)
    for name, version in versions().items():
        if kept["versions"].get(name) != version:
            watcher.note(f"{name} was {kept['versions'].get(name)} then and is {version} now: pixels may differ")

    def load_same(request: EditRequest) -> LoadedModel:
        model = load(request)
        record.check_same_model(model, kept["model"])
        return model

    cuts = [start for start, _ in kept["shots"][1:]]
    return edit(request, watcher, load=load_same, find_cuts=lambda frames: cuts)


def draft(request: EditRequest, model: LoadedModel, shots: Sequence[range]) -> dict[str, Any]:
    """The plan of an edit of these shots, in windows; everything is resolved in it."""
    settings = model.editor.settings
    usual_long = settings.long if request.method == "eve" else "chain"  # the others were not compared
    together = request.method in LONG_METHODS and (usual_long if request.long == "auto" else request.long) == "together"
    keeps = settings.keep and request.size == "source" and request.method in ADAPTER_METHODS
    usual = request.options.usual(settings)
    usual["window"] = window = request.window or max(usual["window"], (request.overlap or 0) + 1)
    overlap = request.overlap or (window // 2 if together else min(2, window - 1))
    request = request.changed(
        **{name: value for name, value in usual.items() if getattr(request, name) is None},
        overlap=overlap,
        long="together" if together else "chain",
        keep=request.keep if request.keep != "auto" else "on" if keeps else "off",
        **request.options.settled(request),
    )
    kept = {
        "format": record.FORMAT,
        "settings": request.as_kept(),
        "seed": request.seed,
        "input": record.describe_input(request.input),
        "model": plan_model(model),
        "versions": versions(),
        "frames": shots[-1].stop,
        "shots": [[shot.start, shot.stop] for shot in shots],
    }
    planned = (
        plan_spans(shots, max(request.span, window), overlap) if together else plan_windows(shots, window, overlap)
    )
    request = request.changed(
        input=str(Path(request.input).absolute()),
        output=_output(request).absolute(),
        lora=absolute_loras(request.lora),
        backbone=absolute_backbone(request.backbone),
    )
    return {
        "request": to_mapping(request),
        "record": kept,
        "size": size_of(request, model.editor),
        "windows": [asdict(each) for each in planned],
    }


def edit_windows(plan: dict[str, Any], guard: Guard, folder: RunFolder, watcher: Watcher) -> None:
    """Edits every window that is not finished yet, in order, and commits each."""
    request = from_mapping(EditRequest, plan["request"], "plan.json")
    guidance = replace(Guidance.of(request), shared=processes.several())
    windows = [Window(**each) for each in plan["windows"]]
    lacking = processes.told([window.index for window in windows if not folder.has_window(window.index)])
    watcher.progress("edit", len(windows) - len(lacking), len(windows))
    for window in windows:
        if window.index in lacking:
            if processes.leads():
                encode(folder, guard, window.frames)
            processes.wait()
            reference = folder.window(window.index - 1)[-window.overlap :] if window.overlap else None
            step = partial(_step, watcher, window.index, len(windows))
            learn = partial(watcher.progress, "learn")
            made = edited(request, guidance, guard, folder, window, reference, step, learn)
            if processes.leads():
                folder.save_window(window.index, *made)
            processes.wait()
        watcher.progress("edit", window.index + 1, len(windows))


def _step(watcher: Watcher, window: int, windows: int, step: int, steps: int) -> None:
    watcher.progress("edit", window + step / (steps + 1), windows)


def edited(
    request: EditRequest,
    guidance: Guidance,
    guard: Guard,
    folder: RunFolder,
    window: Window,
    reference: Tensor | None = None,
    progress: Callable[[int, int], None] | None = None,
    learning: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """A window's edited latents (frames, c, h, w), and what the instruction does to its new frames, if that is kept.

    `reference` are the edited latents of its overlap.
    """
    method: EditMethod = registry.pick(METHODS, request.method, "method")()
    assert request.window is not None
    clip = replace(_clip(guard, folder, window, request.window, reference), progress=progress, learning=learning)
    at, count = window.name, len(window.frames)
    latents = guard("window", at, partial(method.edit, guard.editor, clip, guidance))[:count].float()
    if request.keep != "on":
        return latents, None
    new = clip.part(window.overlap, count)
    return latents, to_bytes(guard("effect", at, partial(effect, guard.editor, new, guidance)))


def _clip(guard: Guard, folder: RunFolder, window: Window, length: int, reference: Tensor | None) -> Clip:
    """A window as a method takes it; a shot that is too short, but for a lone frame, is filled up with its last one."""
    editor = guard.editor

    def whole() -> Tensor:
        shot = next(range(*each) for each in folder.plan["record"]["shots"] if window.start in range(*each))
        encode(folder, guard, shot)
        return folder.source(shot).to(editor.device)

    source = folder.source(window.frames).to(editor.device)
    hint = source
    if editor.settings.hint == "pixels":
        hint = to_floats(folder.source(window.frames, "pixels")).to(editor.device)
    missing = max(length - len(source), 0) if len(source) > 1 else 0
    return Clip(
        source=torch.cat([source, *[source[-1:]] * missing]),
        hint=torch.cat([hint, *[hint[-1:]] * missing]),
        indices=range(window.start, window.stop + missing),
        reference=source[:0] if reference is None else reference.to(editor.device),
        shot=whole,
    )


@torch.inference_mode()
def _finish(
    request: EditRequest,
    plan: dict[str, Any],
    model: LoadedModel,
    folder: RunFolder,
    watcher: Watcher,
    spent: Spent,
) -> Result:
    peak = Peak(model.editor.device)
    processes.join()
    processes.told(str(folder.path.absolute()))
    # a process that does something again would wait for the others for ever
    on_oom = "fail" if processes.several() else request.on_oom
    guard = Guard(model.editor, on_oom, watcher.note, folder.add_event, folder.events)
    edit_windows(plan, guard, folder, watcher)
    output = _output(request)
    with spent.on("write"):
        change, notes = render(request, plan, guard, folder, watcher.progress)
    spent.add(guard, len(folder.saved), peak.taken())
    kept = record.complete(plan["record"], request.input, output, folder.events)
    run = _beside(output, ".run.json")
    write_atomically(run, json.dumps(kept, indent=1).encode())
    if request.run_dir is None:
        folder.remove()
    return Result(output, run, plan, change, unknown_words(request, model), notes, spent)


def unknown_words(request: EditRequest, model: LoadedModel) -> list[str]:
    """The words of a request that the model was never taught."""
    return [] if request.method == "copy" else model.unknown_words(request.options.read(request))


def run_folder(request: EditRequest) -> Path:
    """Where a run keeps what is finished."""
    return request.run_dir or _beside(_output(request), ".eve-run")


def _output(request: EditRequest) -> Path:
    assert request.output is not None
    return request.output


def _beside(output: Path, suffix: str) -> Path:
    """`clip.snowy.mp4` -> `clip.snowy` + suffix."""
    return output.with_name(output.stem + suffix)
