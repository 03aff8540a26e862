"""What the metrics of pixels share: regions, means over them, PSNR and SSIM. Frames are (n, 3, h, w) in [0, 1]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from eve_cli.data.sample import changed_region
from eve_cli.evaluation.metrics.base import Judged, unit

MARGIN = 3  # pixels around an edit that count neither as edited nor as kept
LEAST = 0.02  # share of the pixels that a region must have to be measured
BEST_PSNR = 60.0  # dB; codecs make more meaningless
WINDOW, SIGMA = 11, 1.5  # of SSIM (Wang et al. 2004)


def asked(clip: Judged) -> Tensor | None:
    """Where the edit was asked to act (n, h, w): the given mask, else where the true edit differs; None if unknown."""
    if clip.mask is not None:
        return (clip.mask > 0).float()
    if clip.reference is None or clip.source is None:
        return None
    return changed_region(unit(clip.source), unit(clip.reference))


def outside(region: Tensor, margin: int = MARGIN) -> Tensor:
    """1 further than ``margin`` pixels from a region (n, h, w)."""
    return 1 - F.max_pool2d(region.unsqueeze(1), 2 * margin + 1, 1, margin).squeeze(1)


def mean(values: Tensor, where: Tensor) -> float:
    """The mean of values (n, h, w) where the map is 1; NaN if that is hardly anywhere."""
    return float((values.double() * where).sum() / where.sum()) if where.mean() >= LEAST else torch.nan


def psnr(first: Tensor, second: Tensor, where: Tensor) -> float:
    """PSNR in dB over a map (n, h, w), at most ``BEST_PSNR``; NaN if that is hardly anywhere."""
    square = mean((first - second).square().mean(1), where)
    return min(BEST_PSNR, float(-10 * torch.log10(torch.tensor(max(square, 1e-12))))) if square == square else square


def whole_windows(values: Tensor | None, where: Tensor) -> float:
    """The mean of `ssim_map` over windows that lie in a map (n, h, w) with all their pixels; NaN if hardly any does."""
    if values is None:
        return torch.nan
    return mean(values, -F.max_pool2d(-where.unsqueeze(1), WINDOW, 1).squeeze(1))


def ssim_map(first: Tensor, second: Tensor) -> Tensor | None:
    """SSIM of whole windows (n, h - 10, w - 10), Gaussian of 11 pixels, mean over the colours; None if none fits."""
    if min(first.shape[-2:]) < WINDOW:
        return None
    line = torch.exp(-((torch.arange(WINDOW) - WINDOW // 2).double().square()) / (2 * SIGMA**2))
    line = (line / line.sum()).to(first)

    def smooth(values: Tensor) -> Tensor:
        channels = values.shape[1]
        across = F.conv2d(values, line.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
        return F.conv2d(across, line.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)

    ma, mb = smooth(first), smooth(second)
    va, vb = smooth(first * first) - ma * ma, smooth(second * second) - mb * mb
    ab = smooth(first * second) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * ma * mb + c1) * (2 * ab + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))).mean(1)
