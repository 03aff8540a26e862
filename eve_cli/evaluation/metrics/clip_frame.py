"""CLIPFrame: how alike the frames of an edit are (LOVEU-TGVE 2023; EVE, section 4)."""

from __future__ import annotations

import torch

from eve_cli.evaluation.metrics.base import Column, Judged
from eve_cli.evaluation.metrics.networks import WithClip
from eve_cli.evaluation.metrics.similarity import all_pairs

TGVE = {
    "Tune-A-Video": 0.924,
    "SDEdit": 0.896,
    "STDF": 0.933,
    "Fairy": 0.933,
    "InsV2V": 0.911,
    "EVE": 0.922,
    "TokenFlow": 0.940,
    "RAVE": 0.932,
}
PLUS = {"Tune-A-Video": 0.933, "SDEdit": 0.899, "STDF": 0.933, "Fairy": 0.933, "InsV2V": 0.925, "EVE": 0.926}


class ClipFrame(WithClip):
    """The mean cosine over all pairs of frames; a still picture has 1, so read it beside the text's alignment."""

    columns = (
        Column(
            "clip_frame",
            "tgve/l14-allpairs",
            "cos",
            1,
            "-1-1",
            "CLIP likeness of all pairs of frames",
            {"tgve": TGVE, "tgve+": PLUS},
        ),
    )

    def score(self, clip: Judged) -> dict[str, float]:
        if len(clip.edited) < 2:
            clip.note("clip_frame: one frame has no pair")
            return {"clip_frame": torch.nan}
        return {"clip_frame": all_pairs(self.look(clip, clip.edited))}
