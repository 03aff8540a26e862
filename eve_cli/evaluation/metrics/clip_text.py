"""CLIP text alignment as in the TGVE script, and its gain over the input."""

from __future__ import annotations

import torch

from eve_cli.evaluation.metrics.base import Column, EditClip
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
            "CLIP similarity of frames and output caption",
            {"tgve": {"Tune-A-Video": 27.12, "VideoCrafter": 25.55, "T2I_HERO": 25.57, "RewardT2VE": 27.55}},
        ),
        Column("clip_text_gain", "tgve/l14-text100-gain", "logit", 1, "", "the same minus that of the copied input"),
    )

    def score(self, clip: EditClip) -> dict[str, float]:
        caption = self.encode_text(clip, clip.pair.output_caption)
        score = float((self.encoder.scale * (self.encode_frames(clip, clip.edited) @ caption.T)).double().mean())
        if clip.source is None:
            clip.note("clip_text_gain: the source is unknown")
            return {"clip_text": score, "clip_text_gain": torch.nan}
        copied = float((self.encoder.scale * (self.encode_frames(clip, clip.source) @ caption.T)).double().mean())
        return {"clip_text": score, "clip_text_gain": score - copied}
