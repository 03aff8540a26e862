"""A clip's way through an edit: look at it, edit it window by window, render the finished windows."""

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eve_cli import registry
from eve_cli.editing import record
from eve_cli.editing.contract import Clip, EditMethod, Guidance
from eve_cli.editing.effect import effect
from eve_cli.editing.fit import model_size, to_floats
from eve_cli.editing.folder import BLOCK, RunFolder, write_atomically
from eve_cli.editing.loading import LoadedModel, load_model, plan_model, versions
from eve_cli.editing.methods import METHODS
from eve_cli.editing.render import render
from eve_cli.editing.request import ADAPTER_METHODS, EditRequest, check_output, default_output
from eve_cli.editing.watcher import Watcher
from eve_cli.editing.windows import Window, plan_windows, shots_between
from eve_cli.errors import EveError, InputError
from eve_cli.media.clip import VideoInfo
from eve_cli.settings import from_mapping, to_mapping

Load = Callable[[EditRequest], LoadedModel]
FindCuts = Callable[[Iterable[Any]], Sequence[int]]


@dataclass(frozen=True)
class Result:
    """What an edit gave; `change` is the mean absolute difference to the source at the model's size, in [0, 1]."""

    output: Path
    run: Path
    plan: dict[str, Any]
    change: float
    unknown: list[str]
    notes: list[str]


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
    method: type[EditMethod] = registry.pick(METHODS, request.method, "method")
    info = record.check_input(request)
    model = load(request)
    folder = RunFolder.create(request.run_dir or _beside(_output(request), ".eve-run"), request.overwrite)
    try:
        plan = look(request, info, model, folder, find_cuts)
        folder.save_plan(plan)
        watcher.found(info, plan, _unknown(request, model), folder.path)
        return _finish(request, plan, model, method(), folder, watcher)
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
    method: type[EditMethod] = registry.pick(METHODS, request.method, "method")
    watcher.found(record.check_input(request), plan, _unknown(request, model), folder.path)
    return _finish(request, plan, model, method(), folder, watcher)


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


def look(
    request: EditRequest, info: VideoInfo, model: LoadedModel, folder: RunFolder, find_cuts: FindCuts | None
) -> dict[str, Any]:
    """Puts the source's latents into the folder and plans the windows; everything is resolved in what it returns."""
    settings = model.editor.settings
    frames = folder.save_source(_encoded(request, model))
    if not frames:
        raise InputError(f"{request.input}: there is no frame between --start and --end.")
    cuts: Sequence[int] = ()
    if request.scene_cuts == "auto" and frames > 1:
        cuts = (find_cuts or _default_cuts())(picture.numpy() for picture in folder.pixels(frames))
    shots = shots_between(cuts, frames)
    keeps = settings.keep and request.size == "source" and request.method in ADAPTER_METHODS
    usual = request.options.usual(settings)
    usual["window"] = max(usual["window"], request.overlap + 1)
    request = request.changed(
        **{name: value for name, value in usual.items() if getattr(request, name) is None},
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
        "frames": frames,
        "shots": [[shot.start, shot.stop] for shot in shots],
    }
    assert request.window is not None
    windows = [asdict(each) for each in plan_windows(shots, request.window, request.overlap)]
    request = request.changed(
        input=str(Path(request.input).absolute()),
        output=_output(request).absolute(),
        lora=request.lora and request.lora.absolute(),
    )
    return {"request": to_mapping(request), "record": kept, "windows": windows}


def edit_windows(
    plan: dict[str, Any], model: LoadedModel, method: EditMethod, folder: RunFolder, watcher: Watcher
) -> None:
    """Edits every window that is not finished yet, in order, and commits each."""
    request = from_mapping(EditRequest, plan["request"], "plan.json")
    guidance = _guidance(request)
    windows = [Window(**each) for each in plan["windows"]]
    for window in windows:
        if not folder.has_window(window.index):
            reference = folder.window(window.index - 1)[-window.overlap :] if window.overlap else None
            clip = _clip(model, folder, window, plan, reference, watcher)
            edited = method.edit(model.editor, clip, guidance)
            seen = effect(model.editor, clip, guidance) if request.keep == "on" else None
            count = len(window.frames)
            folder.save_window(window.index, edited[:count].float(), None if seen is None else seen[:, :count])
        watcher.progress("edit", window.index + 1, len(windows))


def _clip(
    model: LoadedModel,
    folder: RunFolder,
    window: Window,
    plan: dict[str, Any],
    reference: Tensor | None,
    watcher: Watcher,
) -> Clip:
    """A window as a method takes it; a shot that is too short, but for a lone frame, is filled up with its last one."""
    editor, length = model.editor, plan["request"]["window"]
    shot = next(range(*each) for each in plan["record"]["shots"] if window.start in range(*each))
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
        shot=lambda: folder.source(shot).to(editor.device),
        learning=lambda done, of: watcher.progress("learn", done, of),
    )


@torch.inference_mode()
def _finish(
    request: EditRequest,
    plan: dict[str, Any],
    model: LoadedModel,
    method: EditMethod,
    folder: RunFolder,
    watcher: Watcher,
) -> Result:
    edit_windows(plan, model, method, folder, watcher)
    output = _output(request)
    change, notes = render(request, plan, model.editor, folder, watcher.progress)
    run = _beside(output, ".run.json")
    write_atomically(run, json.dumps(record.complete(plan["record"], request.input, output), indent=1).encode())
    if request.run_dir is None:
        folder.remove()
    return Result(output, run, plan, change, _unknown(request, model), notes)


def _encoded(request: EditRequest, model: LoadedModel) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of (latents, pixels) of the source at the model's size."""
    from eve_cli.media.decode import VideoReader

    held: list[Tensor] = []
    with VideoReader(request.input, request.start, request.end, size=model_size(model.editor.settings)) as reader:
        for frame in reader:
            held.append(torch.from_numpy(frame.rgb.copy()))
            if len(held) == BLOCK:
                yield _encode(model, held)
                held = []
    if held:
        yield _encode(model, held)


@torch.inference_mode()
def _encode(model: LoadedModel, pictures: list[Tensor]) -> tuple[Tensor, Tensor]:
    pixels = torch.stack(pictures)
    return model.editor.encode(to_floats(pixels)).float(), pixels


def _guidance(request: EditRequest) -> Guidance:
    if request.seed is None or request.steps is None or request.text_cfg is None or request.video_cfg is None:
        raise EveError("This run's plan is incomplete; start it again with eve edit.")
    return Guidance(
        instruction=request.instruction,
        caption=request.caption,
        task=request.task,
        steps=request.steps,
        text_cfg=request.text_cfg,
        video_cfg=request.video_cfg,
        seed=request.seed,
        options=request.options,
    )


def _unknown(request: EditRequest, model: LoadedModel) -> list[str]:
    return [] if request.method == "copy" else model.unknown_words(request.options.read(request))


def _default_cuts() -> FindCuts:
    return registry.load("eve_cli.media.cuts:find_cuts")


def _output(request: EditRequest) -> Path:
    assert request.output is not None
    return request.output


def _beside(output: Path, suffix: str) -> Path:
    """`clip.snowy.mp4` -> `clip.snowy` + suffix."""
    return output.with_name(output.stem + suffix)
