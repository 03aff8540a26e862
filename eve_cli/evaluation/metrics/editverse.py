"""EditVerse's consistency of frames by CLIP: consecutive ones, before the projection (near 0.98, hardly falls)."""

from __future__ import annotations

from eve_cli.evaluation.metrics.base import Column, EditClip
from eve_cli.evaluation.metrics.networks import WithClip
from eve_cli.evaluation.metrics.similarity import consecutive


class Editverse(WithClip):
    """A drift of 60 degrees over a clip gives 0.999 here and 0.90 over all pairs: other recipes are not comparable."""

    square, projected = None, False
    columns = (
        Column(
            "editverse_clip",
            "editverse/clip-consec",
            "cos",
            1,
            "-1-1",
            "CLIP similarity of each frame and the next, before the projection",
            {"editversebench": {"TokenFlow": 0.9836, "InsV2V": 0.9715, "Lucy Edit": 0.9849, "EditVerse": 0.9856}},
        ),
    )

    def score(self, clip: EditClip) -> dict[str, float]:
        if len(clip.edited) < 2:
            clip.note("editverse_clip: a single frame has no next")
        return {"editverse_clip": consecutive(self.encode_frames(clip, clip.edited))}
