"""CLIP text alignment as the TGVE script has it, and what of it the input had already."""

from __future__ import annotations

import torch

from eve_cli.evaluation.metrics.base import Column, Judged
from eve_cli.evaluation.metrics.networks import WithClip


class ClipText(WithClip):
    """100 · cos(frame, output caption), the mean over frames; and its gain over the input copied."""

    needs = frozenset({"weights", "captions"})
    columns = (
        Column(
            "clip_text",
            "tgve/l14-text100",
            "logit",
            1,
            "0-100",
            "CLIP likeness of frames and output caption",
            {"tgve": {"Tune-A-Video": 27.12, "VideoCrafter": 25.55, "T2I_HERO": 25.57, "RewardT2VE": 27.55}},
        ),
        Column("clip_text_gain", "tgve/l14-text100-gain", "logit", 1, "", "the same above the input copied"),
    )

    def score(self, clip: Judged) -> dict[str, float]:
        caption = self.read(clip, clip.pair.output_caption)
        found = float((self.eyes.scale * (self.look(clip, clip.edited) @ caption.T)).double().mean())
        if clip.source is None:
            clip.note("clip_text_gain: the source is not known")
            return {"clip_text": found, "clip_text_gain": torch.nan}
        copied = float((self.eyes.scale * (self.look(clip, clip.source) @ caption.T)).double().mean())
        return {"clip_text": found, "clip_text_gain": found - copied}
