"""Measures that need the true edit, which the world knows. All take pictures in [0, 1].

With x the source, y* the true edit and y the output, M is where y* differs from x by more than 8/255.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from eve_cli.data.sample import changed_region

MARGIN = 3  # pixels around the change that count neither as changed nor as untouched
SUCCESS = {"edit_acc": 0.5, "bg_psnr": 30.0, "warp_excess": 1e-3}


def edit_acc(source: Tensor, truth: Tensor, output: Tensor) -> Tensor:
    """1 - |y - y*|^2 / |x - y*|^2 over M, a row each: 1 perfect, 0 untouched, below 0 worse; NaN without M."""
    mask = changed_region(source, truth).unsqueeze(-3)
    wrong = ((output - truth).square() * mask).flatten(1).sum(1)
    asked = ((source - truth).square() * mask).flatten(1).sum(1)
    return torch.where(asked > 0, 1 - wrong / asked.clamp_min(1e-9), torch.nan)


def bg_psnr(source: Tensor, truth: Tensor, output: Tensor) -> Tensor:
    """PSNR in dB of the output against the true edit outside M and its margin, a row each; NaN if all is M."""
    mask = changed_region(source, truth).view(-1, 1, *source.shape[-2:])
    size = 2 * MARGIN + 1
    outside = 1 - F.max_pool2d(mask, size, 1, MARGIN)
    outside = outside.view(*source.shape[:-3], 1, *source.shape[-2:])
    count = outside.flatten(1).sum(1) * 3
    error = ((output - truth).square() * outside).flatten(1).sum(1)
    value = -10 * torch.log10((error / count.clamp_min(1)).clamp_min(1e-10))
    return torch.where(count >= 3 * 0.02 * outside[0].numel(), value, torch.nan)


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """PSNR in dB for each first index."""
    return -10 * torch.log10((first - second).square().flatten(1).mean(1).clamp_min(1e-10))


def warp_error(clips: Tensor, flow: Tensor, visible: Tensor) -> Tensor:
    """Mean squared difference between a frame and the next one brought back along the flow, where that is visible.

    ``clips`` (n, frames, 3, h, w), ``flow`` (n, frames - 1, 2, h, w) in pixels, ``visible`` (n, frames - 1, h, w); one
    value for each clip. A still or frozen clip scores well: always show the true clip's own value beside it.
    """
    n, frames, _, height, width = clips.shape
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32), torch.arange(width, dtype=torch.float32), indexing="ij"
    )
    at_x = (x + flow[:, :, 0]) * 2 / (width - 1) - 1
    at_y = (y + flow[:, :, 1]) * 2 / (height - 1) - 1
    grid = torch.stack([at_x, at_y], -1).flatten(0, 1)
    later = F.grid_sample(clips[:, 1:].flatten(0, 1), grid, align_corners=True, padding_mode="border")
    error = (later.view(n, frames - 1, 3, height, width) - clips[:, :-1]).square().mean(2) * visible
    return error.flatten(1).sum(1) / visible.flatten(1).sum(1).clamp_min(1)


def confidence(values: Tensor, level: float = 0.95, draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Mean of the finite values with a bootstrap interval (mean, low, high)."""
    finite = values[torch.isfinite(values)]
    if not len(finite):
        return float("nan"), float("nan"), float("nan")
    g = torch.Generator().manual_seed(seed)
    means = finite[torch.randint(len(finite), (draws, len(finite)), generator=g)].mean(1)
    low, high = means.quantile((1 - level) / 2), means.quantile((1 + level) / 2)
    return float(finite.mean()), float(low), float(high)
