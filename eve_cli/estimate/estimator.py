"""How long an edit will take and how much memory, from what it has to compute and what past edits here took."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from eve_cli.editing.edit_plan import EditPlan
from eve_cli.errors import EstimateError
from eve_cli.estimate.cost_model import CostModel
from eve_cli.estimate.flops import Cost, weight_bytes
from eve_cli.estimate.history import History, Rate, Run
from eve_cli.media.clip import VideoInfo
from eve_cli.models.loading import LoadedModel
from eve_cli.runtime import machine
from eve_cli.runtime.oom import Fallback
from eve_cli.storage.hashing import json_sha256

if TYPE_CHECKING:
    from eve_cli.editing.pipeline import EditResult

GUESSES = {
    "start": Rate(0.2, 0.5, 0),
    "load": Rate(1e8, 0.7, 0),
    "scan": Rate(40.0, 0.7, 0),
    "write": Rate(4.0, 0.7, 0),
}
"""Where no run was seen yet: starts, bytes of weights, and megapixels a second. The units of all other stages are
floating point operations."""
CHIEF = 0.1
"""Stages with less than this share of the time do not count for how many runs an estimate rests on."""
OTHER_MODEL, PROBED = 0.35, 0.8
"""How far a rate may be off (relative, one deviation) that another model had, or that one convolution had."""
SCRATCH = 1.4
"""Bytes taken by bytes counted where no run was seen yet: what libraries take for themselves, and holes."""
NINE_OF_TEN = 1.645


@dataclass(frozen=True)
class Estimate:
    """What an edit should take; nine of ten should take between `low` and `high` seconds.

    `units` are how much there is to do in each stage, `stages` the seconds that it should take.
    """

    costs: Mapping[str, Cost]
    units: Mapping[str, float]
    stages: Mapping[str, float]
    low: float
    high: float
    basis: str
    """What it rests on."""
    needs: int
    """Bytes of memory that the whole process will hold on its device."""
    has: int
    """Available bytes; 0 where that is unknown."""

    @property
    def seconds(self) -> float:
        """In all."""
        return sum(self.stages.values())

    @property
    def total(self) -> Cost:
        """All stages together."""
        return sum(self.costs.values(), Cost())

    @property
    def fits(self) -> bool:
        """Whether the memory is enough."""
        return not self.has or self.needs <= self.has


def estimate_edit(
    plan: EditPlan,
    model: LoadedModel,
    info: VideoInfo,
    *,
    fallbacks: Sequence[Fallback] = (),
    rates: Mapping[str, Rate] | None = None,
) -> Estimate:
    """The estimate of a plan; EstimateError for a method whose work depends on the values that it computes.

    `fallbacks` are ways to need less that are taken from the start; `rates` were just measured, and stand in where
    there is no past run.
    """
    editor, history = model.editor, History()
    weights = weight_bytes(editor.modules())
    try:
        costs = CostModel(model, plan, fallbacks).stages(plan, (info.width, info.height))
    except NotImplementedError as error:  # counting goes without numbers
        raise EstimateError(
            f"The work of {plan.edit.method} depends on the clip, so it cannot be estimated."
        ) from error
    megapixels = info.width * info.height / 1e6 * plan.frames
    units = {"start": 1.0, "load": float(weights), "scan": megapixels, "write": megapixels}
    units |= {stage: cost.flops for stage, cost in costs.items() if cost.flops}
    machine_key, model_key = machine.key(editor.device, editor.dtype), _key(model, plan)
    stage_rates = {stage: _rate(stage, machine_key, model_key, history, rates or {}) for stage in units}
    if None in stage_rates.values():
        guess = Rate(probe(editor.device, editor.dtype), PROBED, 0)
        stage_rates = {stage: rate or guess for stage, rate in stage_rates.items()}
    complete_rates = {stage: rate for stage, rate in stage_rates.items() if rate is not None}
    stages = {stage: units[stage] / rate.value for stage, rate in complete_rates.items()}
    seconds = sum(stages.values())
    spread = sum(stages[stage] * rate.spread for stage, rate in complete_rates.items()) / seconds
    runs = min(rate.runs for stage, rate in complete_rates.items() if stages[stage] > CHIEF * seconds)
    scratch = history.memory(machine_key, model_key)
    used, free = machine.used(editor.device), machine.free(editor.device)
    idle = (
        weights - max(map(weight_bytes, editor.module_groups())) if any(fallback.gpu for fallback in fallbacks) else 0
    )
    most = max(cost.bytes for cost in costs.values())
    return Estimate(
        costs=costs,
        units=units,
        stages=stages,
        low=seconds * math.exp(-NINE_OF_TEN * spread),
        high=seconds * math.exp(NINE_OF_TEN * spread),
        basis=f"{runs} past run{'s' * (runs > 1)} here" if runs else "a short trial" if rates else "no past run here",
        needs=used - idle + round(most * (scratch.value if scratch else SCRATCH)),
        has=used + free if free else 0,
    )


def has_history(plan: EditPlan, model: LoadedModel, stage: str) -> bool:
    """Whether a past run on this machine measured a stage."""
    key = machine.key(model.editor.device, model.editor.dtype)
    return History().rate(stage, key, _key(model, plan)) is not None


def remember(estimate: Estimate, result: EditResult, model: LoadedModel, started: float | None = None) -> None:
    """Adds an edit to the history, if it ran as estimated: from its start to its end, without fallbacks.

    `started` are the seconds from the start of the program to the edit; None if the program edited before, in which
    case its model may have been loaded already.
    """
    timings = result.timings
    if timings.fallbacks or timings.windows != len(result.plan.windows):
        return
    seconds = timings.seconds | ({} if started is None else {"start": started})
    stages = {name: (estimate.units[name], value) for name, value in seconds.items() if name in estimate.units}
    if started is None:
        stages.pop("load", None)
    memory = (float(estimate.total.bytes), float(timings.peak_bytes))
    key = machine.key(model.editor.device, model.editor.dtype)
    History().add(Run(key, _key(model, result.plan), stages, memory, sum(seconds.values()) / estimate.seconds))


def _key(model: LoadedModel, plan: EditPlan) -> str:
    """What past runs must share besides the machine: the weights and the method."""
    weights = json_sha256(model.hashes)[:8]
    return f"{model.editor.settings.name} {weights} {plan.edit.method}"


def _rate(stage: str, key: str, model: str, history: History, rates: Mapping[str, Rate]) -> Rate | None:
    rate = history.rate(stage, key, model)
    if rate is not None:
        return rate
    if stage in rates:
        return rates[stage]
    any_model_rate = history.rate(stage, key, None)
    if any_model_rate is not None:
        return replace(any_model_rate, spread=any_model_rate.spread + OTHER_MODEL, runs=0)
    return GUESSES.get(stage)


def probe(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of one convolution of a usual shape, about a tenth of a second long."""
    picture = torch.zeros(2, 64, 32, 32, device=device, dtype=dtype)
    kernel = torch.zeros(64, 64, 3, 3, device=device, dtype=dtype)
    done, started = 0, 0.0
    with torch.inference_mode():
        for number in range(2):
            done, started = 0, time.perf_counter()
            while time.perf_counter() - started < 0.1 * number or not done:
                float(functional.conv2d(picture, kernel, padding=1).sum())
                done += 1
    operations = 2 * picture.numel() * 64 * 9
    return operations * done / (time.perf_counter() - started)
