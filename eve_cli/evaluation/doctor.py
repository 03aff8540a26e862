"""Whether the networks that metrics need are here, whole, and what they claim to be; reads headers, not weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eve_cli.errors import ModelError
from eve_cli.evaluation.metrics import METRICS
from eve_cli.evaluation.weights import CHECKPOINTS, Weights
from eve_cli.registry import load


@dataclass(frozen=True)
class Line:
    """What is known of a checkpoint, in one sentence, and which metrics need it."""

    name: str
    state: Literal["ok", "missing", "broken"]
    text: str
    metrics: tuple[str, ...]


def check(weights: Weights) -> list[Line]:
    """A line for each checkpoint that any metric needs."""
    needed = users()
    return [line(weights, name, tuple(metrics)) for name, metrics in needed.items()]


def line(weights: Weights, name: str, metrics: tuple[str, ...] = ()) -> Line:
    """What is known of one checkpoint."""
    try:
        path = weights.file(name)
    except ModelError as error:
        return Line(name, "missing", str(error), metrics)
    trouble = weights.trouble(name)
    if trouble:
        return Line(name, "broken", trouble, metrics)
    row = CHECKPOINTS[name]
    checked = row.kind in ("clip", "viclip") and path.suffix == ".safetensors"
    how = "names and shapes as they should be" if checked else "names and shapes are checked when it is loaded"
    return Line(name, "ok", f"{row.kind} {row.size}, {path.stat().st_size / 1e6:,.0f} MB; {how}.", metrics)


def users() -> dict[str, list[str]]:
    """The metrics that need each checkpoint."""
    found: dict[str, list[str]] = {}
    for name, spec in METRICS.items():
        checkpoint = getattr(load(spec), "checkpoint", None)
        if checkpoint is not None:
            found.setdefault(checkpoint, []).append(name)
    return found
