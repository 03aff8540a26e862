"""Warp error: whether an edit moves as its source does, or at least as it says itself."""

from __future__ import annotations

import torch
from torch import Tensor

from eve_cli.evaluation import truth
from eve_cli.evaluation.metrics.base import Column, Judged, Plain, undefined, unit
from eve_cli.evaluation.metrics.pixels import LEAST, outside, requested_region
from eve_cli.perception import flow

RECIPE = "core/flow-pyramid"
COLUMNS = ("warp", "warp_source", "warp_excess", "warp_outside", "warp_own")


class Warp(Plain):
    """Squared differences along optical flow, in thousandths; the source's own value stands beside the edit's.

    The source's flow is wrong where an edit adds or removes a thing: even a perfect removal has an error there.
    `warp_outside` leaves that region out, and `warp_own` follows the edit's own flow.
    """

    columns = (
        Column("warp", "core/warp-srcflow", "x1e-3", -1, "0 up", "warp error of the edit along the source's flow"),
        Column("warp_source", "core/warp-source", "x1e-3", 0, "0 up", "warp error of the source along its own flow"),
        Column("warp_excess", "core/warp-excess", "x1e-3", -1, "", "the edit's above the source's own"),
        Column("warp_outside", "core/warp-excess-outside", "x1e-3", -1, "", "the same outside the edit's region"),
        Column("warp_own", "core/warp-excess-ownflow", "x1e-3", -1, "", "the edit's along its own flow, likewise"),
    )

    def score(self, clip: Judged) -> dict[str, float]:
        assert clip.source is not None
        if len(clip.edited) < 2:
            return undefined(clip, COLUMNS, "one frame has no motion")
        source, edited = unit(clip.source), unit(clip.edited)
        of_source, seen = _flow(clip, clip.source)
        own, own_seen = _flow(clip, clip.edited)
        base, made = _error(source, of_source, seen), _error(edited, of_source, seen)
        found = {
            "warp": made,
            "warp_source": base,
            "warp_excess": made - base,
            "warp_own": _error(edited, own, own_seen) - base,
        }
        region = requested_region(clip)
        if region is None:
            return found | undefined(clip, ["warp_outside"], "no mask of the edit is known")
        away = seen * outside(region)[:-1]
        return found | {"warp_outside": _error(edited, of_source, away) - _error(source, of_source, away)}


def _flow(clip: Judged, frames: Tensor) -> tuple[Tensor, Tensor]:
    packed = clip.seen(frames, RECIPE, lambda clip: torch.cat(_both(unit(clip)), 1))
    return packed[:, :2], packed[:, 2]


def _both(frames: Tensor) -> list[Tensor]:
    found, visible = flow.between(frames[:-1], frames[1:])
    return [found, visible.unsqueeze(1)]


def _error(frames: Tensor, along: Tensor, where: Tensor) -> float:
    if where.mean() < LEAST:
        return torch.nan
    return float(truth.warp_error(frames.unsqueeze(0), along.unsqueeze(0), where.unsqueeze(0))) * 1e3
