"""Two of VBench's dimensions (Huang et al. 2024): flicker, and background by CLIP B/32; subject is in dino.py."""

from __future__ import annotations

from eve_cli.evaluation.metrics.base import Column, Judged, Plain, undefined
from eve_cli.evaluation.metrics.networks import WithClip
from eve_cli.evaluation.metrics.similarity import with_first


class Flicker(Plain):
    """(255 - mean |difference of consecutive frames|) / 255: meant for still scenes alone."""

    needs = frozenset()
    columns = (Column("vbench_flicker", "vbench/flicker", "", 1, "0-1", "sameness of consecutive frames; 1: frozen"),)

    def score(self, clip: Judged) -> dict[str, float]:
        if len(clip.edited) < 2:
            return undefined(clip, ["vbench_flicker"], "one frame has no next")
        frames = clip.edited.double()
        return {"vbench_flicker": 1 - float((frames[1:] - frames[:-1]).abs().mean()) / 255}


class Background(WithClip):
    """Half the likeness to the frame before, half to the first, by CLIP B/32."""

    checkpoint, square = "clip-b32", None
    columns = (
        Column("vbench_background", "vbench/background", "cos", 1, "0-1", "likeness of frames by CLIP, VBench's way"),
    )

    def score(self, clip: Judged) -> dict[str, float]:
        if len(clip.edited) < 2:
            clip.note("vbench_background: one frame has no next")
        return {"vbench_background": with_first(self.look(clip, clip.edited))}
