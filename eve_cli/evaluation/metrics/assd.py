"""The two CLIP figures of ASSD's table: text as a plain cosine, and consistency over all pairs of frames."""

from __future__ import annotations

import torch

from eve_cli.evaluation.metrics.base import Column, EditClip
from eve_cli.evaluation.metrics.networks import WithClip
from eve_cli.evaluation.metrics.similarity import all_pairs


class Assd(WithClip):
    """On frames at their own size; consistency is the mean cosine between all pairs of frames."""

    square = None
    needs = frozenset({"weights", "captions"})
    columns = (
        Column("assd_text", "assd/l14-text", "cos", 1, "-1-1", "mean cosine of frames and output caption"),
        Column("assd_consistency", "assd/l14-allpairs", "cos", 1, "-1-1", "mean cosine between frames"),
    )

    def score(self, clip: EditClip) -> dict[str, float]:
        features, caption = self.encode_frames(clip, clip.edited), self.encode_text(clip, clip.pair.output_caption)
        if len(features) < 2:
            clip.note("assd_consistency: a single frame has no pair")
        return {
            "assd_text": float((features @ caption.T).double().mean()),
            "assd_consistency": all_pairs(features) if len(features) > 1 else torch.nan,
        }
