"""Sharpness: the fine detail of an edit beside the source's."""

from __future__ import annotations

from eve_cli.evaluation import truth
from eve_cli.evaluation.metrics.base import Column, Judged, Plain, unit


class Sharpness(Plain):
    """Root mean square of what differs from its surroundings, as a ratio; styles may well have more or less."""

    columns = (Column("sharpness", "core/detail-ratio", "x", 0, "0 up", "fine detail beside the source; 1: as much"),)

    def score(self, clip: Judged) -> dict[str, float]:
        assert clip.source is not None
        found = float(truth.detail_ratio(unit(clip.source).unsqueeze(0), unit(clip.edited).unsqueeze(0)))
        if found != found:
            clip.note("sharpness: the source has no detail")
        return {"sharpness": found}
