"""Seams: the jump of an edit where one window of frames ends and the next begins."""

from __future__ import annotations

from torch import Tensor

from eve_cli.evaluation.metrics.base import Column, Judged, Plain, undefined, unit

LEAST_STEP = 0.5  # levels; what changes less from frame to frame is codec noise


class Seam(Plain):
    """The largest change of y - x from a frame to the next beside the usual one, and after which frame it is.

    What moves with the video changes y - x a little at every frame; a window border changes it much at one.
    """

    columns = (
        Column("seam", "core/seam", "x", -1, "0 up", "largest step of the edit from frame to frame beside the median"),
        Column("seam_after", "core/seam-after", "frame", 0, "0 up", "number of the frame before that step"),
    )

    def score(self, clip: Judged) -> dict[str, float]:
        assert clip.source is not None
        if len(clip.edited) < 4:
            return undefined(clip, ["seam", "seam_after"], "fewer than four frames show no usual step")
        found = steps(unit(clip.source), unit(clip.edited))
        usual = float(found.quantile(0.5))
        return {
            "seam": (float(found.max()) - usual) / (usual + LEAST_STEP),
            "seam_after": float(found.argmax()),
        }


def steps(source: Tensor, edited: Tensor) -> Tensor:
    """Mean |change of y - x| from each frame to the next (n - 1,), in levels of 255."""
    added = (edited - source).double()
    return (added[1:] - added[:-1]).abs().mean((1, 2, 3)) * 255
