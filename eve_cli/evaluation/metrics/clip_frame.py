"""CLIPFrame: the similarity of the frames of an edit (LOVEU-TGVE 2023; EVE, section 4)."""

from __future__ import annotations

import torch

from eve_cli.evaluation.metrics.base import Column, EditClip
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
    """The mean cosine over all pairs of frames; 1 for a still clip, so compare it together with text alignment."""

    columns = (
        Column(
            "clip_frame",
            "tgve/l14-allpairs",
            "cos",
            1,
            "-1-1",
            "CLIP similarity of all pairs of frames",
            {"tgve": TGVE, "tgve+": PLUS},
        ),
    )

    def score(self, clip: EditClip) -> dict[str, float]:
        if len(clip.edited) < 2:
            clip.note("clip_frame: a single frame has no pair")
            return {"clip_frame": torch.nan}
        return {"clip_frame": all_pairs(self.encode_frames(clip, clip.edited))}
