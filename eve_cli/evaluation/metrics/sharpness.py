"""Sharpness: the fine detail of an edit relative to the source."""

from __future__ import annotations

from eve_cli.evaluation import truth
from eve_cli.evaluation.metrics.base import Column, EditClip, PixelMetric, unit


class Sharpness(PixelMetric):
    """Ratio of the root mean square differences from the local mean; styles may legitimately change it."""

    columns = (
        Column("sharpness", "core/detail-ratio", "x", 0, "0 up", "fine detail relative to the source; 1: equal"),
    )

    def score(self, clip: EditClip) -> dict[str, float]:
        assert clip.source is not None
        ratio = float(truth.detail_ratio(unit(clip.source).unsqueeze(0), unit(clip.edited).unsqueeze(0)))
        if ratio != ratio:
            clip.note("sharpness: the source has no detail")
        return {"sharpness": ratio}
