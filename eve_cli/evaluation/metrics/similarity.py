"""Similarity formulas over features (n, dim), which need not have unit length."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STILL = 1e-4  # shorter differences of unit features count as zero


def all_pairs(features: Tensor) -> float:
    """The mean cosine of all pairs of frames, in closed form: (|sum of unit vectors|^2 - n) / (n (n - 1)).

    NaN for one frame. TGVE's and EVE's CLIPFrame.
    """
    rows, n = F.normalize(features.double(), dim=-1), len(features)
    return float((rows.sum(0).square().sum() - n) / (n * (n - 1))) if n > 1 else torch.nan


def consecutive(features: Tensor, least: float = -1.0) -> float:
    """The mean cosine of each frame and the next, each at least ``least``; NaN for one frame. Ignores slow drift."""
    rows = F.normalize(features.double(), dim=-1)
    return float((rows[1:] * rows[:-1]).sum(-1).clamp_min(least).mean()) if len(rows) > 1 else torch.nan


def with_first(features: Tensor) -> float:
    """VBench's consistency: for each frame but the first, half its cosine with the one before, half with the first."""
    rows = F.normalize(features.double(), dim=-1)
    if len(rows) < 2:
        return torch.nan
    before, first = ((rows[1:] * other).sum(-1).clamp_min(0) for other in (rows[:-1], rows[:1]))
    return float(((before + first) / 2).mean())


def cosine(first: Tensor, second: Tensor) -> float:
    """The cosine of two vectors of any shape."""
    return float(F.cosine_similarity(first.double().flatten(), second.double().flatten(), dim=0))


def direction(edited: Tensor, source: Tensor, caption: Tensor, source_caption: Tensor) -> tuple[float, bool]:
    """cos(v(y) - v(x), t(c_out) - t(c_in)) of unit features, and whether both differences are nonzero.

    Where one is shorter than ``STILL`` the value is 0: the direction of nothing (Gal et al. 2021; EVE, section 4).
    """
    visual, textual = (
        F.normalize(a.double().flatten(), dim=0) - F.normalize(b.double().flatten(), dim=0)
        for a, b in ((edited, source), (caption, source_caption))
    )
    differs = bool(visual.norm() >= STILL) and bool(textual.norm() >= STILL)
    return (cosine(visual, textual) if differs else 0.0), differs
