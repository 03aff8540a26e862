"""Regions, and PSNR and SSIM over them, for the pixel metrics. Frames are (n, 3, h, w) in [0, 1]."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from eve_cli.data.sample import changed_region
from eve_cli.evaluation.metrics.base import EditClip, unit
from eve_cli.evaluation.truth import ssim_map, to_decibels

MARGIN = 3  # pixels around an edit that count neither as edited nor as preserved
LEAST = 0.02  # smallest share of the pixels in a region for a value
MAX_PSNR = 60.0  # dB; higher values are below the error of codecs
WINDOW, SIGMA = 11, 1.5  # of SSIM (Wang et al. 2004)


def requested_region(clip: EditClip) -> Tensor | None:
    """The region of the requested edit (n, h, w): the mask, else where the true edit differs; None if unknown."""
    if clip.mask is not None:
        return (clip.mask > 0).float()
    if clip.reference is None or clip.source is None:
        return None
    return changed_region(unit(clip.source), unit(clip.reference))


def outside(region: Tensor, margin: int = MARGIN) -> Tensor:
    """1 further than ``margin`` pixels from a region (n, h, w)."""
    return 1 - F.max_pool2d(region.unsqueeze(1), 2 * margin + 1, 1, margin).squeeze(1)


def mean(values: Tensor, where: Tensor) -> float:
    """The mean of values (n, h, w) where the map is 1; NaN below a share of ``LEAST``."""
    return float((values.double() * where).sum() / where.sum()) if where.mean() >= LEAST else torch.nan


def psnr(first: Tensor, second: Tensor, where: Tensor) -> float:
    """PSNR in dB over a map (n, h, w), at most ``MAX_PSNR``; NaN below a share of ``LEAST``."""
    square = mean((first - second).square().mean(1), where)
    return square if math.isnan(square) else min(MAX_PSNR, float(to_decibels(torch.tensor(square))))


def whole_windows(values: Tensor | None, where: Tensor) -> float:
    """The mean of `ssim_windows` over windows completely inside a map (n, h, w); NaN below a share of ``LEAST``."""
    if values is None:
        return torch.nan
    return mean(values, -F.max_pool2d(-where.unsqueeze(1), WINDOW, 1).squeeze(1))


def ssim_windows(first: Tensor, second: Tensor) -> Tensor | None:
    """SSIM of whole windows (n, h - 10, w - 10), Gaussian of 11 pixels, mean over the colours; None if none fits."""
    if min(first.shape[-2:]) < WINDOW:
        return None
    line = torch.exp(-((torch.arange(WINDOW) - WINDOW // 2).double().square()) / (2 * SIGMA**2))
    line = (line / line.sum()).to(first)

    def smooth(values: Tensor) -> Tensor:
        channels = values.shape[1]
        across = F.conv2d(values, line.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
        return F.conv2d(across, line.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)

    return ssim_map(first, second, smooth)
