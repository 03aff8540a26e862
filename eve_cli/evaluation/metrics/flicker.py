"""Flicker of the mean colour from frame to frame, and the amount of motion."""

from __future__ import annotations

import torch
from torch import Tensor

from eve_cli.evaluation import truth
from eve_cli.evaluation.metrics.base import Column, EditClip, PixelMetric, undefined, unit


class Flicker(PixelMetric):
    """The flicker of the frames' mean colour minus that of the source; motion relative to the source."""

    columns = (
        Column(
            "flicker",
            "core/light-flicker-excess",
            "levels",
            -1,
            "",
            "flicker of the frames' mean colour above the source's",
        ),
        Column(
            "motion_ratio_source",
            "core/motion-ratio",
            "x",
            0,
            "0 up",
            "change from frame to frame relative to the source",
        ),
    )

    def score(self, clip: EditClip) -> dict[str, float]:
        assert clip.source is not None
        if len(clip.edited) < 2:
            return undefined(clip, ["flicker", "motion_ratio_source"], "a single frame has no motion")
        source, edited = unit(clip.source), unit(clip.edited)
        ratio = float(truth.motion_ratio(source.unsqueeze(0), edited.unsqueeze(0)))
        if ratio != ratio:
            clip.note("motion_ratio_source: the source is still")
        if len(edited) < 3:
            return {"motion_ratio_source": ratio} | undefined(clip, ["flicker"], "two frames cannot flicker")
        return {"motion_ratio_source": ratio, "flicker": colour_flicker(edited) - colour_flicker(source)}


def colour_flicker(frames: Tensor) -> float:
    """Mean |second difference| over time of the frames' mean colours, in levels: a steady fade has none."""
    colours = frames.double().mean((2, 3)) * 255
    return float(torch.diff(colours, n=2, dim=0).abs().mean())
