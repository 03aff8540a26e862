"""Preservation of the source outside the requested region, and outside the region that the edit changes most."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from eve_cli.data.sample import changed_region
from eve_cli.evaluation.metrics.base import Column, EditClip, PixelMetric, undefined, unit
from eve_cli.evaluation.metrics.pixels import mean, outside, psnr, requested_region, ssim_windows, whole_windows

REGION = 32 / 255  # smoothed difference that defines the region of the edit itself
SMOOTHING = 5


class Preservation(PixelMetric):
    """PSNR, SSIM and leak against the source."""

    columns = (
        Column("kept_psnr", "core/bg-psnr", "dB", 1, "0-60", "PSNR outside the region of the requested edit"),
        Column("kept_ssim", "core/bg-ssim", "", 1, "-1-1", "SSIM outside that region"),
        Column("leak", "core/leak", "share", -1, "0-1", "pixels outside it that differ by more than 8 of 255"),
        Column(
            "rest_psnr", "core/rest-psnr-by-difference", "dB", 1, "0-60", "PSNR where the edit itself changes least"
        ),
        Column("rest_ssim", "core/rest-ssim-by-difference", "", 1, "-1-1", "SSIM where the edit itself changes least"),
    )

    def score(self, clip: EditClip) -> dict[str, float]:
        assert clip.source is not None
        source, edited = unit(clip.source), unit(clip.edited)
        unedited, ssim = outside(estimated_region(source, edited)), ssim_windows(source, edited)
        values = {"rest_psnr": psnr(source, edited, unedited), "rest_ssim": whole_windows(ssim, unedited)}
        if math.isnan(values["rest_psnr"]):
            clip.note("rest_psnr, rest_ssim: the edit changes nearly every pixel")
        region = requested_region(clip)
        if region is None:
            return values | undefined(clip, ["kept_psnr", "kept_ssim", "leak"], "the mask of the edit is unknown")
        unrequested = outside(region)
        if mean(unrequested, unrequested) != 1:
            return values | undefined(
                clip, ["kept_psnr", "kept_ssim", "leak"], "the requested region covers everything"
            )
        return values | {
            "kept_psnr": psnr(source, edited, unrequested),
            "kept_ssim": whole_windows(ssim, unrequested),
            "leak": mean(changed_region(source, edited), unrequested),
        }


def estimated_region(source: Tensor, edited: Tensor) -> Tensor:
    """The region of an edit estimated from its smoothed difference (n, h, w)."""
    difference = (edited - source).abs().amax(1, keepdim=True)
    smooth = F.avg_pool2d(difference, SMOOTHING, 1, SMOOTHING // 2, count_include_pad=False)
    return (smooth.squeeze(1) > REGION).to(torch.float32)
