"""What an edit would do and need, before it runs: the source is scanned, nothing is edited or written."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from eve_cli.editing import provenance
from eve_cli.editing.edit_plan import EditPlan
from eve_cli.editing.pipeline import Load, load_for
from eve_cli.editing.request import EditRequest, check_output, default_output
from eve_cli.editing.resolve import resolve
from eve_cli.editing.source import find_shots, resized_frames
from eve_cli.estimate.cost_model import CostModel
from eve_cli.estimate.estimator import Estimate, estimate_edit, has_history, probe
from eve_cli.estimate.history import Rate
from eve_cli.media.clip import VideoInfo
from eve_cli.methods.registry import spec
from eve_cli.models.loading import LoadedModel, load_model
from eve_cli.runtime import machine
from eve_cli.runtime.oom import FALLBACKS, Fallback

TRIAL_LIMIT, TRIAL_SPREAD = 10.0, 0.3
"""Seconds that one step may take to be tried, and the relative deviation of what it shows."""


@dataclass(frozen=True)
class PlanReport:
    """The plan of an edit, its estimate, and what else it needs."""

    plan: EditPlan
    info: VideoInfo
    estimate: Estimate
    output: Path
    fallbacks: tuple[str, ...]
    """The out-of-memory fallbacks with which it fits; all there are if it does not fit even so."""
    fits: bool
    disk: int
    """Bytes of the run directory while the edit runs."""
    disk_free: int
    device: str


def plan_report(request: EditRequest, *, load: Load = load_model) -> PlanReport:
    """Plans and estimates an edit; invalid input is the same error as in the edit itself."""
    spec(request.method)
    request = request.changed(seed=secrets.randbelow(2**31) if request.seed is None else request.seed)
    request = request.changed(output=request.output or default_output(request))
    assert request.output is not None
    check_output(request)
    info = provenance.check_input(request.input, request.start, request.end, request.fps)
    model = load_for(request, load)
    size = model.editor.frame_size(info.width, info.height)
    frames = resized_frames(request.input, request.start, request.end, size, fps=request.fps)
    plan = resolve(request, model, find_shots(request.input, request.scene_cuts, frames), size)
    rates = {} if has_history(plan, model, "window") else trial(plan, model)
    estimate = estimate_edit(plan, model, info, rates=rates)
    fallbacks: list[Fallback] = []
    fitting = estimate
    for fallback in FALLBACKS:
        if not fitting.fits and not (fallback.gpu and model.editor.device.type == "cpu"):
            fallbacks.append(fallback)
            fitting = estimate_edit(plan, model, info, fallbacks=fallbacks, rates=rates)
    return PlanReport(
        plan=plan,
        info=info,
        estimate=estimate,
        output=request.output,
        fallbacks=tuple(fallback.name for fallback in fallbacks),
        fits=fitting.fits,
        disk=disk_bytes(plan, model),
        disk_free=shutil.disk_usage((plan.edit.run_dir or plan.edit.output).parent).free,
        device=machine.name(model.editor.device),
    )


@torch.inference_mode()
def trial(plan: EditPlan, model: LoadedModel) -> dict[str, Rate]:
    """How fast this machine is: one step of one window and one decoding, timed, unless that would take long."""
    editor, costs, window = model.editor, CostModel(model, plan), plan.windows[-1]
    step, decoding, clip = costs.steps(window, 1), costs.decoding(len(window.new)), costs.clip(window, editor.device)
    costs.save()
    if not step.flops or step.flops / probe(editor.device, editor.dtype) > TRIAL_LIMIT:
        return {}
    seconds = _timed(lambda: costs.method.edit(editor, clip, costs.once))
    window_rate = Rate(step.flops / seconds, TRIAL_SPREAD, 0)
    seconds = _timed(lambda: editor.decode(clip.source[: len(window.new)]))
    decode_rate = Rate(decoding.flops / seconds, TRIAL_SPREAD, 0)
    return {"window": window_rate, "effect": window_rate, "decode": decode_rate, "encode": decode_rate}


def _timed(work: Callable[[], torch.Tensor]) -> float:
    """Seconds of the second time; the first warms up."""
    work()
    started = time.perf_counter()
    float(work().sum())
    return time.perf_counter() - started


def disk_bytes(plan: EditPlan, model: LoadedModel) -> int:
    """What the run directory holds at the end: frames at the model's size, their latents, and all windows."""
    editor = model.editor
    width, height = plan.frame_size
    latent_height, latent_width = editor.latent_size(height, width)
    channels = int(editor.parts.vae.config["latent_channels"])
    latent, picture = 4 * channels * latent_height * latent_width, 3 * height * width
    edited = sum(len(window.frames) for window in plan.windows)
    effects = 2 * picture * edited if plan.edit.preserve else 0
    return plan.frames * (latent + picture) + edited * latent + effects
