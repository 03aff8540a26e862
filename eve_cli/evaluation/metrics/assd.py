"""The two CLIP figures of ASSD's table: text as a plain cosine, and consistency over all pairs of frames."""

from __future__ import annotations

import torch

from eve_cli.evaluation.metrics.base import Column, Judged
from eve_cli.evaluation.metrics.networks import WithClip
from eve_cli.evaluation.metrics.similarity import all_pairs


class Assd(WithClip):
    """On frames as they are; the paper words its consistency as the mean cosine between frames."""

    square = None
    needs = frozenset({"weights", "captions"})
    columns = (
        Column("assd_text", "assd/l14-text", "cos", 1, "-1-1", "mean cosine of frames and output caption"),
        Column("assd_consistency", "assd/l14-allpairs", "cos", 1, "-1-1", "mean cosine between frames"),
    )

    def score(self, clip: Judged) -> dict[str, float]:
        seen, caption = self.look(clip, clip.edited), self.read(clip, clip.pair.output_caption)
        if len(seen) < 2:
            clip.note("assd_consistency: one frame has no pair")
        return {
            "assd_text": float((seen @ caption.T).double().mean()),
            "assd_consistency": all_pairs(seen) if len(seen) > 1 else torch.nan,
        }
