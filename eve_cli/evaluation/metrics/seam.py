"""Seams: the jump of an edit between two windows of frames."""

from __future__ import annotations

from torch import Tensor

from eve_cli.evaluation.metrics.base import Column, EditClip, PixelMetric, undefined, unit

LEAST_STEP = 0.5  # levels; smaller changes from frame to frame are codec noise


class Seam(PixelMetric):
    """The largest change of y - x between two frames relative to the median one, and its frame number.

    An edit that moves with the video changes y - x a little at every frame; a window border changes it a lot at one.
    """

    columns = (
        Column("seam", "core/seam", "x", -1, "0 up", "largest step of the edit between frames relative to the median"),
        Column("seam_after", "core/seam-after", "frame", 0, "0 up", "number of the frame before that step"),
    )

    def score(self, clip: EditClip) -> dict[str, float]:
        assert clip.source is not None
        if len(clip.edited) < 4:
            return undefined(clip, ["seam", "seam_after"], "at least four frames are needed for a median")
        sizes = steps(unit(clip.source), unit(clip.edited))
        median = float(sizes.quantile(0.5))
        return {
            "seam": (float(sizes.max()) - median) / (median + LEAST_STEP),
            "seam_after": float(sizes.argmax()),
        }


def steps(source: Tensor, edited: Tensor) -> Tensor:
    """Mean |change of y - x| from each frame to the next (n - 1,), in levels of 255."""
    difference = (edited - source).double()
    return (difference[1:] - difference[:-1]).abs().mean((1, 2, 3)) * 255
