"""Checks the checkpoints of the metrics: present, complete, with the right tensors; reads file headers only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eve_cli.errors import ModelError
from eve_cli.evaluation.metrics import METRICS
from eve_cli.evaluation.weights import CHECKPOINTS, Weights
from eve_cli.registry import load


@dataclass(frozen=True)
class CheckpointStatus:
    """The state of a checkpoint, with one sentence of explanation, and the metrics that need it."""

    name: str
    state: Literal["ok", "missing", "broken"]
    text: str
    metrics: tuple[str, ...]


def check(weights: Weights) -> list[CheckpointStatus]:
    """The status of each checkpoint that a metric needs."""
    return [status(weights, name, tuple(metrics)) for name, metrics in users().items()]


def status(weights: Weights, name: str, metrics: tuple[str, ...] = ()) -> CheckpointStatus:
    """The status of one checkpoint."""
    try:
        path = weights.file(name)
    except ModelError as error:
        return CheckpointStatus(name, "missing", str(error).removeprefix(f"{name}: "), metrics)
    trouble = weights.trouble(name)
    if trouble:
        return CheckpointStatus(name, "broken", trouble.removeprefix(f"{name}: "), metrics)
    row = CHECKPOINTS[name]
    checked = row.kind in ("clip", "viclip") and path.suffix == ".safetensors"
    how = "tensor names and shapes are correct" if checked else "tensor names and shapes are checked on loading"
    return CheckpointStatus(name, "ok", f"{row.kind} {row.size}, {path.stat().st_size / 1e6:,.0f} MB; {how}.", metrics)


def users() -> dict[str, list[str]]:
    """The metrics that need each checkpoint."""
    by_checkpoint: dict[str, list[str]] = {}
    for name, spec in METRICS.items():
        checkpoint = getattr(load(spec), "checkpoint", None)
        if checkpoint is not None:
            by_checkpoint.setdefault(checkpoint, []).append(name)
    return by_checkpoint
