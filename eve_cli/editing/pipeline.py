"""An edit from its request to the written file: scan, plan, edit window by window, write."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from eve_cli.diffusion.windows import Window
from eve_cli.editing import provenance
from eve_cli.editing.edit_plan import EditPlan
from eve_cli.editing.preview_cache import PreviewCache
from eve_cli.editing.progress import EditCallbacks, Timings
from eve_cli.editing.render import rehearse, render
from eve_cli.editing.request import RECORD, RUN_DIR, EditRequest, check_output, default_output
from eve_cli.editing.resolve import replaced_words, resolve
from eve_cli.editing.run_dir import RunDir
from eve_cli.editing.source import FindCuts, encode, find_shots, resized_frames, stored
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.effect import effect
from eve_cli.methods.particles import changes_most, particles
from eve_cli.methods.registry import METHODS, check_parts, spec
from eve_cli.models.canvas import to_bytes, to_floats
from eve_cli.models.loading import LoadedModel, load_model, parts_of
from eve_cli.models.spec import ModelSpec
from eve_cli.runtime import distributed
from eve_cli.runtime.environment import versions
from eve_cli.runtime.machine import Peak
from eve_cli.runtime.oom import FallbackRunner
from eve_cli.storage.atomic import write_bytes

Load = Callable[[ModelSpec], LoadedModel]


@dataclass(frozen=True)
class EditResult:
    """What an edit produced."""

    output: Path
    record: Path
    """The run.json beside it, with which it can be repeated."""
    plan: EditPlan
    change: float
    """Mean absolute difference to the source at the model's size, in [0, 1]."""
    notes: list[str]
    timings: Timings


def edit(
    request: EditRequest,
    callbacks: EditCallbacks | None = None,
    *,
    load: Load = load_model,
    find_cuts: FindCuts | None = None,
) -> EditResult:
    """Edits a clip or a picture. An error leaves no result, and a run directory only if a window was finished."""
    callbacks, timings = callbacks or EditCallbacks(), Timings()
    spec(request.method)
    if request.seed is None:
        request = request.changed(seed=secrets.randbelow(2**31))
    request = request.changed(output=request.output or default_output(request))
    assert request.output is not None
    check_output(request)
    info = provenance.check_input(request.input, request.start, request.end, request.fps)
    run_dir = RunDir.create(run_dir_of(request), request.overwrite)
    try:
        with timings.measure("load"):
            model = load_for(request, load)
        with timings.measure("scan"):
            size = model.editor.frame_size(info.width, info.height)
            frames = resized_frames(request.input, request.start, request.end, size, fps=request.fps)
            shots = find_shots(request.input, request.scene_cuts, stored(frames, run_dir), find_cuts)
        plan = resolve(request, model, shots, size)
        rehearse(plan, info)
        run_dir.save_plan(plan)
        callbacks.on_plan(plan, model, info, run_dir.path)
        for word, phrase in replaced_words(request, model).items():
            callbacks.on_note(f'"{word}" is read as "{phrase}"')
        if request.reuse_preview and (reused := PreviewCache(request, model).copy_to(run_dir, plan)):
            callbacks.on_note(f"{reused} of {len(plan.windows)} windows are reused from eve preview")
        run = Run.start(plan, model, run_dir, callbacks, timings)
        edit_windows(run)
        result = write(run)
        return replace(result, output=request.output, record=request.output.with_name(result.record.name))
    except BaseException:
        if not run_dir.has_window(0):
            run_dir.remove()
        raise
    finally:
        run_dir.lock.release()


def resume(path: Path, callbacks: EditCallbacks | None = None, *, load: Load = load_model) -> EditResult:
    """Resumes the edit in a run directory; the result is the same, to the byte, as without the interruption."""
    callbacks, run_dir = callbacks or EditCallbacks(), RunDir.open(path)
    with run_dir.lock:
        plan = run_dir.plan
        provenance.check_same_input(plan.edit.input, plan.provenance.input)
        model = load(plan.edit.model)
        provenance.check_same_model(model, plan.provenance.model)
        info = provenance.check_input(plan.edit.input, plan.edit.start, plan.edit.end, plan.edit.fps)
        rehearse(plan, info)
        callbacks.on_plan(plan, model, info, run_dir.path)
        run = Run.start(plan, model, run_dir, callbacks, Timings())
        edit_windows(run)
        return write(run)


def rerun(
    path: Path, output: Path | None, overwrite: bool, callbacks: EditCallbacks | None = None, *, load: Load = load_model
) -> EditResult:
    """Repeats the edit of a run.json; InputError or ModelError if input or weights are no longer the same."""
    callbacks, record = callbacks or EditCallbacks(), provenance.read(path)
    source = record["input"]["path"]
    provenance.check_same_input(source, record["input"])
    request = EditRequest.of(record["settings"] | {"input": source}, str(path))
    request = request.changed(output=output or provenance.result_of(path, record), overwrite=overwrite)
    for name, version in versions().items():
        if record["versions"].get(name) != version:
            callbacks.on_note(
                f"{name} was {record['versions'].get(name)} and is now {version}: pixels may differ slightly"
            )

    def load_same(spec: ModelSpec) -> LoadedModel:
        model = load(spec)
        provenance.check_same_model(model, record["model"])
        return model

    cuts = [start for start, _ in record["shots"][1:]]
    return edit(request, callbacks, load=load_same, find_cuts=lambda frames: cuts)


def load_for(request: EditRequest, load: Load = load_model) -> LoadedModel:
    """The model of a request; ModelError if it lacks an adapter that the method needs."""
    check_parts(request.method, request.model, parts_of(request.model_spec), picture=request.picture)
    return load(request.model_spec)


def assist() -> None:
    """What a process beside the leading one does: its part of every window that is not finished yet."""
    distributed.connect()
    run_dir = RunDir(Path(distributed.broadcast("")))
    plan = run_dir.plan
    runner = FallbackRunner(load_model(plan.edit.model).editor, "fail")
    edit_windows(Run(plan, runner, run_dir, EditCallbacks(), Timings(), Peak(runner.editor.device)))


@dataclass(frozen=True)
class Run:
    """An edit that is under way."""

    plan: EditPlan
    runner: FallbackRunner
    run_dir: RunDir
    callbacks: EditCallbacks
    timings: Timings
    peak: Peak

    @classmethod
    def start(
        cls, plan: EditPlan, model: LoadedModel, run_dir: RunDir, callbacks: EditCallbacks, timings: Timings
    ) -> Run:
        """Meets the other processes, if there are some, and hands them the run directory."""
        peak = Peak(model.editor.device)
        distributed.connect()
        distributed.broadcast(str(run_dir.path.absolute()))
        # with several processes, one that repeats a call would leave the others waiting
        on_oom = "fail" if distributed.several() else plan.edit.on_oom
        runner = FallbackRunner(model.editor, on_oom, callbacks.on_note, run_dir.add_event, run_dir.events)
        return cls(plan, runner, run_dir, callbacks, timings, peak)


@torch.inference_mode()
def edit_windows(run: Run) -> None:
    """Edits every window that is not finished yet, in order, and commits each."""
    plan, runner, run_dir, total = run.plan, run.runner, run.run_dir, len(run.plan.windows)
    guidance = replace(plan.edit.guidance, shared=distributed.several())
    missing = distributed.broadcast([each.index for each in plan.windows if not run_dir.has_window(each.index)])
    run.callbacks.on_progress("edit", total - len(missing), total)
    for window in plan.windows:
        if window.index in missing:
            if distributed.is_main():
                encode(run_dir, runner, window.frames)
            distributed.wait()
            clip = replace(
                window_clip(plan, window, runner, run_dir),
                progress=partial(_report_step, run.callbacks, window.index, total),
                finetuning=partial(run.callbacks.on_progress, "finetune"),
            )
            method = METHODS[plan.edit.method].load()()
            latents = runner("window", window.name, partial(method.edit, runner.editor, clip, guidance))
            content = window_content(plan, window, runner, clip, guidance, latents)
            if distributed.is_main():
                run_dir.save_window(window.index, *content)
            distributed.wait()
        run.callbacks.on_progress("edit", window.index + 1, total)


def _report_step(callbacks: EditCallbacks, window: int, windows: int, step: int, steps: int) -> None:
    callbacks.on_progress("edit", window + step / (steps + 1), windows)


def window_content(
    plan: EditPlan, window: Window, runner: FallbackRunner, clip: Clip, guidance: Guidance, latents: Tensor
) -> tuple[Tensor, Tensor | None]:
    """What is saved of a window: its latents (frames, c, h, w), and with `preserve` the effect on its new frames."""
    latents = latents[: len(window.frames)].float()
    if not plan.edit.preserve:
        return latents, None
    new = clip.part(window.overlap, len(window.frames))
    rows = runner("effect", window.name, partial(effect, runner.editor, new, guidance))
    if runner.editor.settings.particle_steps and changes_most(*rows):
        light = runner("effect", window.name, partial(particles, runner.editor, new, guidance))
        rows = torch.cat([rows, light])
    return latents, to_bytes(rows)


@torch.inference_mode()
def write(run: Run) -> EditResult:
    """Writes the result of an edit whose windows are finished, and its run.json."""
    plan, runner, run_dir, timings = run.plan, run.runner, run.run_dir, run.timings
    with timings.measure("write"):
        change, notes = render(plan, runner, run_dir, run.callbacks.on_progress)
    timings.seconds |= runner.seconds
    timings.seconds["write"] -= runner.seconds["decode"]  # decoding happens while writing
    timings.peak_bytes, timings.windows, timings.fallbacks = run.peak.bytes(), len(run_dir.saved), runner.applied
    record = beside(plan.edit.output, RECORD, provenance.output_of)
    write_bytes(record, json.dumps(provenance.complete(plan, run_dir.events), indent=1).encode())
    if plan.edit.run_dir is None:
        run_dir.remove()
    return EditResult(plan.edit.output, record, plan, change, notes, timings)


def window_clip(
    plan: EditPlan,
    window: Window,
    runner: FallbackRunner,
    run_dir: RunDir,
    *,
    independent: bool = False,
) -> Clip:
    """The clip of a window; one that is too short, unless it is a single frame, is padded with its last frame.

    Its first frames are those of the window before, unless it is `independent` of that one.
    """
    editor = runner.editor

    def whole_shot() -> Tensor:
        shot = next(shot for shot in plan.shots if window.start in shot)
        encode(run_dir, runner, shot)
        return run_dir.source(shot).to(editor.device)

    source = run_dir.source(window.frames).to(editor.device)
    control_image = source
    if editor.settings.control_image == "pixels":
        control_image = to_floats(run_dir.source(window.frames, "pixels")).to(editor.device)
    missing = max(plan.edit.window - len(source), 0) if len(source) > 1 else 0
    reference = source[:0]
    if window.overlap and not independent:
        reference = run_dir.window(window.index - 1)[-window.overlap :].to(editor.device)
    return Clip(
        source=torch.cat([source, *[source[-1:]] * missing]),
        control_image=torch.cat([control_image, *[control_image[-1:]] * missing]),
        indices=range(window.start, window.stop + missing),
        reference=reference,
        shot=whole_shot,
    )


def run_dir_of(request: EditRequest) -> Path:
    """Where finished windows are kept until the result is written."""
    output = request.output
    assert output is not None
    return request.run_dir or beside(output, RUN_DIR, lambda path: RunDir(path).output_of_plan or output.name)


def beside(output: Path, suffix: str, output_of: Callable[[Path], str | None]) -> Path:
    """`clip.snowy.mp4` -> `clip.snowy` + suffix, or `clip.snowy.mp4` + suffix where the former is of `clip.snowy.webm`.

    `output_of` gives the file name of the result that an existing path belongs to, None if it belongs to no result.
    """
    short, full = output.with_name(output.stem + suffix), output.with_name(output.name + suffix)
    return full if full.exists() or (short.exists() and output_of(short) != output.name) else short
