"""The amount of change, as a counterpart of preservation, which an unedited copy maximises."""

from __future__ import annotations

from eve_cli.data.sample import changed_region
from eve_cli.evaluation.metrics.base import Column, EditClip, PixelMetric, undefined, unit
from eve_cli.evaluation.metrics.pixels import mean, requested_region


class Change(PixelMetric):
    """The mean difference from the source, in the region of the requested edit and everywhere."""

    columns = (
        Column("change_in", "core/change-in", "levels", 0, "0-255", "mean |y - x| in the region of the requested edit"),
        Column("change_all", "core/change-all", "levels", 0, "0-255", "mean |y - x| everywhere; 0: unchanged"),
        Column("changed", "core/changed", "share", 0, "0-1", "pixels that differ by more than 8 of 255"),
    )

    def score(self, clip: EditClip) -> dict[str, float]:
        assert clip.source is not None
        source, edited = unit(clip.source), unit(clip.edited)
        difference = (edited - source).abs().mean(1) * 255
        values = {
            "change_all": float(difference.double().mean()),
            "changed": float(changed_region(source, edited).double().mean()),
        }
        if values["change_all"] == 0:
            clip.note("the edit is identical to the source")
        region = requested_region(clip)
        if region is None:
            return values | undefined(clip, ["change_in"], "the mask of the edit is unknown")
        return values | {"change_in": mean(difference, region)}
