"""Warp error: temporal consistency of an edit along the source's optical flow, and along its own."""

from __future__ import annotations

import torch
from torch import Tensor

from eve_cli.evaluation import truth
from eve_cli.evaluation.metrics.base import Column, EditClip, PixelMetric, undefined, unit
from eve_cli.evaluation.metrics.pixels import LEAST, outside, requested_region
from eve_cli.perception import flow

RECIPE = "core/flow-pyramid"
COLUMNS = ("warp", "warp_source", "warp_excess", "warp_outside", "warp_own")


class Warp(PixelMetric):
    """Squared differences along optical flow, in thousandths; the source's own value stands beside the edit's.

    The source's flow is wrong where an edit adds or removes an object: even a perfect removal has an error there.
    `warp_outside` excludes that region, and `warp_own` uses the edit's own flow.
    """

    columns = (
        Column("warp", "core/warp-srcflow", "x1e-3", -1, "0 up", "warp error of the edit along the source's flow"),
        Column("warp_source", "core/warp-source", "x1e-3", 0, "0 up", "warp error of the source along its own flow"),
        Column("warp_excess", "core/warp-excess", "x1e-3", -1, "", "warp error of the edit minus that of the source"),
        Column("warp_outside", "core/warp-excess-outside", "x1e-3", -1, "", "the same outside the region of the edit"),
        Column(
            "warp_own",
            "core/warp-excess-ownflow",
            "x1e-3",
            -1,
            "",
            "warp error along the edit's own flow minus the source's",
        ),
    )

    def score(self, clip: EditClip) -> dict[str, float]:
        assert clip.source is not None
        if len(clip.edited) < 2:
            return undefined(clip, COLUMNS, "a single frame has no motion")
        source, edited = unit(clip.source), unit(clip.edited)
        source_flow, visible = _flow(clip, clip.source)
        edited_flow, edited_visible = _flow(clip, clip.edited)
        base, error = _error(source, source_flow, visible), _error(edited, source_flow, visible)
        values = {
            "warp": error,
            "warp_source": base,
            "warp_excess": error - base,
            "warp_own": _error(edited, edited_flow, edited_visible) - base,
        }
        region = requested_region(clip)
        if region is None:
            return values | undefined(clip, ["warp_outside"], "the mask of the edit is unknown")
        away = visible * outside(region)[:-1]
        return values | {"warp_outside": _error(edited, source_flow, away) - _error(source, source_flow, away)}


def _flow(clip: EditClip, frames: Tensor) -> tuple[Tensor, Tensor]:
    packed = clip.features(frames, RECIPE, lambda frames: torch.cat(_flow_and_visibility(unit(frames)), 1))
    return packed[:, :2], packed[:, 2]


def _flow_and_visibility(frames: Tensor) -> list[Tensor]:
    vectors, visible = flow.between(frames[:-1], frames[1:])
    return [vectors, visible.unsqueeze(1)]


def _error(frames: Tensor, along: Tensor, where: Tensor) -> float:
    if where.mean() < LEAST:
        return torch.nan
    return float(truth.warp_error(frames.unsqueeze(0), along.unsqueeze(0), where.unsqueeze(0))) * 1e3
