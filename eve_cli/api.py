"""The Python API: functions over paths, arrays and tensors, each of which does what the command of its name does."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from eve_cli.editing.edit_plan import EditPlan
from eve_cli.editing.progress import EditCallbacks, text_notes
from eve_cli.editing.request import EditRequest
from eve_cli.errors import EveError, UsageError
from eve_cli.models.loading import LoadedModel
from eve_cli.models.loading import load_model as _load_model
from eve_cli.models.spec import ModelSpec
from eve_cli.settings import from_mapping

if TYPE_CHECKING:
    from torch import Tensor

    from eve_cli.estimate.report import PlanReport
    from eve_cli.media.clip import VideoInfo

Frames = npt.NDArray[np.uint8]
"""Pictures (frames, height, width, 3), RGB."""
Source: TypeAlias = "str | PathLike[str] | Frames | Tensor"
"""A file or a folder of images, or frames: uint8 (frames, height, width, 3), or a float tensor in [0, 1]."""
Progress = Callable[[str, float, int], None]
"""Called with a stage ("edit", "finetune", "write"), how much of it is done, and the total."""


@dataclass(frozen=True)
class EditResult:
    """What an edit produced."""

    frames: Frames
    """The result (frames, height, width, 3), RGB, decoded from the written file."""
    output: Path | None
    """The written file; None where `output` was not given for a source in memory."""
    plan: EditPlan
    change: float
    """Mean absolute difference to the source at the model's size, in [0, 1]."""
    notes: tuple[str, ...]
    """What the command line would print as notes."""


def load_model(
    name: str = "mini", *, lora: str | None = None, device: str = "auto", dtype: str = "auto"
) -> LoadedModel:
    """Loads a model once, for several calls of `edit`.

    `name` is a model's name or folder, `lora` is `PATH[:scale],...`, `dtype` is auto, fp32, bf16 or fp16. ModelError if
    it is missing or damaged, UsageError if there is no such device.
    """
    return _load_model(
        from_mapping(ModelSpec, {"name": name, "lora": lora, "device": device, "dtype": dtype}, "load_model")
    )


def edit(
    source: Source,
    instruction: str,
    *,
    output: str | PathLike[str] | None = None,
    model: str | LoadedModel = "mini",
    seed: int | None = 0,
    fps: float = 8.0,
    progress: Progress | None = None,
    **settings: Any,
) -> EditResult:
    """Edits a clip or a picture by an instruction.

    `fps` is the frame rate of a source in memory. `settings` are those of `eve edit`, options of methods included
    (`method="sdedit", strength=0.6`). A source file without `output` writes a new file into the current folder, as
    the command does; frames in memory are returned and no file is kept. Raises an `eve_cli.errors.EveError`.
    """
    from eve_cli.editing import pipeline

    with _as_file(source, fps) as (path, folder):
        target = Path(output) if output is not None else None if folder is None else folder / "result.mkv"
        if folder is not None and output is None:
            settings = {"codec": "ffv1", **settings}
        request = _request(path, instruction, model, seed, settings | {"output": target})
        callbacks = _Collect(progress)
        result = pipeline.edit(request, callbacks, load=_loader(model))
        returns_file = output is not None or folder is None
        return EditResult(
            frames=_read_frames(result.output),
            output=result.output if returns_file else None,
            plan=result.plan,
            change=result.change,
            notes=(*callbacks.notes, *result.notes),
        )


def plan(
    source: str | PathLike[str], instruction: str, *, model: str | LoadedModel = "mini", **settings: Any
) -> PlanReport:
    """The plan and the estimate of an edit, without running it; `settings` as for `edit`."""
    from eve_cli.estimate.report import plan_report

    return plan_report(_request(fspath(source), instruction, model, 0, settings), load=_loader(model))


def generate(
    prompt: str, *, output: str | PathLike[str] | None = None, seed: int | None = 0, **settings: Any
) -> Frames:
    """Generates a video from a prompt: frames (frames, height, width, 3), RGB; `settings` are those of `eve generate`.

    With `output` it is also written there.
    """
    from eve_cli.generation.generate import generate as run
    from eve_cli.generation.request import GenerateRequest

    with tempfile.TemporaryDirectory() as folder:
        target = Path(output) if output is not None else Path(folder) / "result.mkv"
        if output is None:
            settings = {"codec": "ffv1", **settings}
        values = {"prompt": prompt, "seed": seed, "output": target, **settings}
        return _read_frames(run(from_mapping(GenerateRequest, values, "generate")))


def evaluate(
    source: str | PathLike[str],
    edited: str | PathLike[str],
    *,
    instruction: str = "",
    source_caption: str = "",
    caption: str = "",
    task: str = "",
    metrics: str = "core",
    out: str | PathLike[str] | None = None,
    **settings: Any,
) -> Mapping[str, Any]:
    """Evaluates one edit: the content of summary.json, where metrics that could not run have a reason and no number.

    `metrics` are names or groups as for `eve eval run`; `core` needs no weights. With `out` the report is kept there.
    """
    from eve_cli.evaluation import evaluate as evaluation
    from eve_cli.evaluation.pairs import Pair
    from eve_cli.evaluation.sets import EvalSet
    from eve_cli.evaluation.settings import ScoreSettings

    with tempfile.TemporaryDirectory() as folder:
        target = Path(out) if out is not None else Path(folder) / "report"
        values = {"metrics": metrics, "out": target, "videos": out is not None, **settings}
        judge = from_mapping(ScoreSettings, values, "evaluate")
        pair = Pair(
            id=Path(source).stem,
            video=Path(source).stem,
            task=task,
            source=Path(source),
            edited=Path(edited),
            instruction=instruction,
            input_caption=source_caption,
            output_caption=caption,
        )
        evaluation.prepare(judge.out, judge.resume, judge.overwrite)
        return evaluation.evaluate(EvalSet(pair.id, {"edits": [pair]}), judge).summary


def align(**settings: Any) -> Path:
    """Aligns a model by Factorized Diffusion Distillation; the folder of the aligned model.

    `settings` are those of `eve align`, such as `teachers="edit,video"`, `model`, `out`, `steps`.
    """
    from eve_cli.alignment.pipeline import run
    from eve_cli.alignment.settings import AlignSettings

    trained = run(from_mapping(AlignSettings, settings, "align"))
    if trained.model is None:
        raise EveError(f"The alignment in {trained.folder} was interrupted; continue it with resume=True.")
    return trained.model


class _Collect(EditCallbacks):
    """Passes progress on and collects notes."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress, self.notes = progress, list[str]()

    def on_plan(self, plan: EditPlan, model: LoadedModel, info: VideoInfo, run_dir: Path) -> None:
        self.notes += text_notes(plan)

    def on_progress(self, stage: str, done: float, total: int) -> None:
        if self.progress is not None:
            self.progress(stage, done, total)

    def on_note(self, text: str) -> None:
        self.notes.append(text)


def _request(
    path: str, instruction: str, model: str | LoadedModel, seed: int | None, settings: Mapping[str, Any]
) -> EditRequest:
    name = model if isinstance(model, str) else model.name
    values = {"input": path, "instruction": instruction, "model": name, "seed": seed, **settings}
    return EditRequest.of(values, "edit")


def _loader(model: str | LoadedModel) -> Callable[[ModelSpec], LoadedModel]:
    return _load_model if isinstance(model, str) else lambda spec: model


@contextmanager
def _as_file(source: Source, fps: float) -> Iterator[tuple[str, Path | None]]:
    """The path of a source, and for frames in memory the temporary folder that holds it, losslessly encoded."""
    if isinstance(source, str | PathLike):
        yield fspath(source), None
        return
    from eve_cli.media.encode import VideoWriter

    frames = _as_uint8(source)
    if not (math.isfinite(fps) and fps > 0):
        raise UsageError(f"fps must be a finite number above 0, not {fps}.")
    rate = Fraction(fps).limit_denominator(100_000)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "source.mkv"
        with VideoWriter(path, codec="ffv1", fps=rate, audio="none") as writer:
            for number, frame in enumerate(frames):
                writer.write(np.ascontiguousarray(frame.transpose(2, 0, 1)), number / rate, 1 / rate)
        yield str(path), Path(name)


def _as_uint8(source: Any) -> Frames:
    """Frames uint8 (frames, height, width, 3); UsageError for another shape or type."""
    array = source if isinstance(source, np.ndarray) else source.detach().cpu().numpy()
    if array.dtype.kind == "f":
        array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3 or not len(array):
        raise UsageError(
            f"The source has shape {array.shape} and type {array.dtype}: give frames (frames, height, width, 3) as "
            "uint8, or as floats in [0, 1]."
        )
    return array


def _read_frames(path: Path) -> Frames:
    """All frames of a video or picture (frames, height, width, 3)."""
    from eve_cli.media.decode import VideoReader

    with VideoReader(str(path)) as reader:
        return np.stack([frame.rgb.transpose(1, 2, 0) for frame in reader])
