"""PickScore (Kirstain et al. 2023): a CLIP H/14 that learnt which pictures people prefer for a caption."""

from __future__ import annotations

from torch import Tensor


def score(frames: Tensor, caption: Tensor, scale: float) -> float:
    """exp(logit_scale) · cos, the mean over frames; no softmax, which is for choosing between pictures.

    ``frames`` (n, dim) and ``caption`` (1, dim) are unit features; ``scale`` is exp(logit_scale), near 100.
    """
    return float((scale * (frames @ caption.T)).double().mean())
