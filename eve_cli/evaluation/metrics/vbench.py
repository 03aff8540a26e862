"""Two of VBench's dimensions (Huang et al. 2024): flicker, and background by CLIP B/32; subject is in dino.py."""

from __future__ import annotations

from eve_cli.evaluation.metrics.base import Column, EditClip, PixelMetric, undefined
from eve_cli.evaluation.metrics.networks import WithClip
from eve_cli.evaluation.metrics.similarity import with_first


class Flicker(PixelMetric):
    """(255 - mean |difference of consecutive frames|) / 255: meant for static scenes only."""

    needs = frozenset()
    columns = (Column("vbench_flicker", "vbench/flicker", "", 1, "0-1", "similarity of consecutive frames; 1: frozen"),)

    def score(self, clip: EditClip) -> dict[str, float]:
        if len(clip.edited) < 2:
            return undefined(clip, ["vbench_flicker"], "a single frame has no next")
        frames = clip.edited.double()
        return {"vbench_flicker": 1 - float((frames[1:] - frames[:-1]).abs().mean()) / 255}


class Background(WithClip):
    """The mean of the similarities to the previous and to the first frame, by CLIP B/32."""

    checkpoint, square = "clip-b32", None
    columns = (
        Column("vbench_background", "vbench/background", "cos", 1, "0-1", "similarity of frames by CLIP, as in VBench"),
    )

    def score(self, clip: EditClip) -> dict[str, float]:
        if len(clip.edited) < 2:
            clip.note("vbench_background: a single frame has no next")
        return {"vbench_background": with_first(self.encode_frames(clip, clip.edited))}
