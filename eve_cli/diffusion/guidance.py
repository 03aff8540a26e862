"""Classifier-free guidance as weighted sums of branches; a branch of weight zero need not be computed."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def two_scale_weights(text_scale: float, source_scale: float) -> tuple[float, float, float]:
    """Weights of the branches (none, source, full) in `two_scale`; they add up to one."""
    return 1 - source_scale, source_scale - text_scale, text_scale


def combine(weights: Sequence[float], branches: Sequence[Tensor]) -> Tensor:
    """The weighted sum of the branches."""
    if len(weights) != len(branches) or not branches:
        raise ValueError(f"{len(weights)} weights for {len(branches)} branches: there must be one for each.")
    if len(branches) == 1 and weights[0] == 1:
        return branches[0]
    total = weights[0] * branches[0]
    for weight, branch in zip(weights[1:], branches[1:], strict=True):
        total = total + weight * branch
    return total


def two_scale(none: Tensor, source: Tensor, full: Tensor, text_scale: float, source_scale: float) -> Tensor:
    """`none + source_scale * (source - none) + text_scale * (full - source)` (InstructPix2Pix, equation 3)."""
    return combine(two_scale_weights(text_scale, source_scale), (none, source, full))


def one_scale(none: Tensor, full: Tensor, scale: float) -> Tensor:
    """`none + scale * (full - none)` (Ho & Salimans 2022)."""
    return combine((1 - scale, scale), (none, full))


def rescale(guided: Tensor, reference: Tensor, amount: float = 0.7) -> Tensor:
    """Draws the spread of each guided sample towards that of `reference` (Lin et al. 2023, section 3.4).

    Both have shape (batch, ...); `amount` 0 leaves `guided` as it is and 1 gives it the spread of `reference`.
    """
    dims = tuple(range(1, guided.ndim))
    ratio = reference.std(dims, keepdim=True) / guided.std(dims, keepdim=True).clamp(min=1e-8)
    return guided * (amount * ratio + 1 - amount)
