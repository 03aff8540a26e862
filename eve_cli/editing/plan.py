"""What an edit would do and need, before it is paid for: the source is looked at, nothing is edited or written."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from eve_cli import registry
from eve_cli.editing import machine, record
from eve_cli.editing.forecast import Forecast, forecast_of, knows, probe
from eve_cli.editing.history import Rate
from eve_cli.editing.loading import LoadedModel, load_model
from eve_cli.editing.memory import LADDER, Rung
from eve_cli.editing.methods import METHODS
from eve_cli.editing.prices import Prices
from eve_cli.editing.request import EditRequest, check_output, default_output
from eve_cli.editing.session import draft, unknown_words
from eve_cli.editing.source import find_shots, pictures
from eve_cli.editing.windows import Window
from eve_cli.media.clip import VideoInfo

TRIAL_LIMIT, TRIAL_SPREAD = 10.0, 0.3
"""Seconds that one step may take to be tried, and how far off what it says may be (relative, one deviation)."""


@dataclass(frozen=True)
class Outlook:
    """What `eve plan` tells: the plan of an edit, its forecast, and what else it needs."""

    plan: Mapping[str, Any]
    info: VideoInfo
    forecast: Forecast
    output: Path
    rungs: tuple[str, ...]
    """Ways to need less that it takes to fit; all there are if it does not fit even so."""
    fits: bool
    disk: int
    """Bytes that the run's folder takes while the edit runs."""
    disk_free: int
    device: str
    unknown: list[str]


def outlook(request: EditRequest, *, load: Callable[[EditRequest], LoadedModel] = load_model) -> Outlook:
    """Looks at the source and at the model, and foretells the edit; the same mistakes are errors as in an edit."""
    request = request.changed(seed=secrets.randbelow(2**31) if request.seed is None else request.seed)
    request = request.changed(output=request.output or default_output(request))
    check_output(request)
    registry.pick(METHODS, request.method, "method")
    info, model = record.check_input(request), load(request)
    plan = draft(request, model, find_shots(request, pictures(request, model.editor)))
    rates = {} if knows(plan, model, "window") else trial(plan, model)
    forecast = forecast_of(plan, model, info, rates=rates)
    rungs: list[Rung] = []
    fitting = forecast
    for rung in LADDER:
        if not fitting.fits and not (rung.gpu and model.editor.device.type == "cpu"):
            rungs.append(rung)
            fitting = forecast_of(plan, model, info, rungs=rungs, rates=rates)
    assert request.output is not None
    return Outlook(
        plan=plan,
        info=info,
        forecast=forecast,
        output=request.output,
        rungs=tuple(rung.name for rung in rungs),
        fits=fitting.fits,
        disk=disk_bytes(plan, model),
        disk_free=shutil.disk_usage((request.run_dir or request.output).absolute().parent).free,
        device=machine.name(model.editor.device),
        unknown=unknown_words(request, model),
    )


@torch.inference_mode()
def trial(plan: Mapping[str, Any], model: LoadedModel) -> dict[str, Rate]:
    """How quick this machine is: one step of one window and one decoding, timed, unless that would take long."""
    editor, prices = model.editor, Prices(model, plan)
    window = Window(**plan["windows"][-1])
    step, decoding, clip = prices.steps(window, 1), prices.decoding(len(window.new)), prices.clip(window, editor.device)
    prices.save()
    if not step.flops or step.flops / probe(editor.device, editor.dtype) > TRIAL_LIMIT:
        return {}
    seconds = _timed(lambda: prices.method.edit(editor, clip, prices.once))
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


def disk_bytes(plan: Mapping[str, Any], model: LoadedModel) -> int:
    """What the run's folder holds at the end: the small source, its latents, and all windows."""
    editor = model.editor
    wide, high = plan["size"]
    height, width = editor.latent_size(high, wide)
    channels: Any = editor.parts.codec.config["latent_channels"]
    latent, picture = 4 * channels * height * width, 3 * high * wide
    done = sum(window["stop"] - window["start"] for window in plan["windows"])
    effects = 2 * picture * done if plan["request"]["keep"] == "on" else 0
    return plan["record"]["frames"] * (latent + picture) + done * latent + effects
