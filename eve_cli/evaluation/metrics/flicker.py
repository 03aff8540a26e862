"""Flicker: light that comes and goes from frame to frame; and whether a clip still moves."""

from __future__ import annotations

import torch
from torch import Tensor

from eve_cli.evaluation import truth
from eve_cli.evaluation.metrics.base import Column, Judged, Plain, undefined, unit


class Flicker(Plain):
    """How unsteady the frames' mean colour is, above the source's; and the movement beside the source's."""

    columns = (
        Column("flicker", "core/light-flicker-excess", "levels", -1, "", "unsteadiness of the frames' mean colour"),
        Column("motion_ratio_source", "core/motion-ratio", "x", 0, "0 up", "change from frame to frame, source 1"),
    )

    def score(self, clip: Judged) -> dict[str, float]:
        assert clip.source is not None
        if len(clip.edited) < 2:
            return undefined(clip, ["flicker", "motion_ratio_source"], "one frame has no motion")
        source, edited = unit(clip.source), unit(clip.edited)
        ratio = float(truth.motion_ratio(source.unsqueeze(0), edited.unsqueeze(0)))
        if ratio != ratio:
            clip.note("motion_ratio_source: the source stands still")
        if len(edited) < 3:
            return {"motion_ratio_source": ratio} | undefined(clip, ["flicker"], "two frames cannot flicker")
        return {"motion_ratio_source": ratio, "flicker": unsteady(edited) - unsteady(source)}


def unsteady(frames: Tensor) -> float:
    """Mean |second difference| over time of the frames' mean colours, in levels: a steady fade has none."""
    colours = frames.double().mean((2, 3)) * 255
    return float(torch.diff(colours, n=2, dim=0).abs().mean())
