"""How much an edit changes: the other side of preservation, which an editor that does nothing wins."""

from __future__ import annotations

from eve_cli.data.sample import changed_region
from eve_cli.evaluation.metrics.base import Column, Judged, Plain, undefined, unit
from eve_cli.evaluation.metrics.pixels import mean, requested_region


class Change(Plain):
    """The mean difference from the source, where the edit was asked for and everywhere."""

    columns = (
        Column("change_in", "core/change-in", "levels", 0, "0-255", "mean |y - x| where the edit was asked for"),
        Column("change_all", "core/change-all", "levels", 0, "0-255", "mean |y - x| everywhere; 0: nothing was done"),
        Column("changed", "core/changed", "share", 0, "0-1", "pixels that differ by more than 8 of 255"),
    )

    def score(self, clip: Judged) -> dict[str, float]:
        assert clip.source is not None
        source, edited = unit(clip.source), unit(clip.edited)
        difference = (edited - source).abs().mean(1) * 255
        found = {
            "change_all": float(difference.double().mean()),
            "changed": float(changed_region(source, edited).double().mean()),
        }
        if found["change_all"] == 0:
            clip.note("the video is the source itself, unchanged")
        region = requested_region(clip)
        if region is None:
            return found | undefined(clip, ["change_in"], "no mask of the edit is known")
        return found | {"change_in": mean(difference, region)}
