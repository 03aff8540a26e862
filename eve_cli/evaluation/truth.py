"""Metrics against the true edit, known for scenes of the world. All take pictures in [0, 1], one value per row.

With x the source, y* the true edit and y the output, M is where y* differs from x by more than 8/255, and "outside" is
what lies further than ``MARGIN`` from M. Pictures are (n, 3, h, w) or clips (n, frames, 3, h, w); values are (n,), and
NaN where they are undefined.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from eve_cli.data.sample import changed_region
from eve_cli.perception.flow import warp

MARGIN = 3  # pixels around the change that count neither as changed nor as untouched
LEAST_OUTSIDE = 0.02  # smallest share of untouched pixels for a value
LEVELS = 255
WINDOW = 7  # pixels of a local mean; its radius is the margin, so that no window outside overlaps M
SUCCESS = {  # lower and upper bounds, from benchmarks/faults.py and docs/experiments.md
    "edit_acc": (0.5, math.inf),
    "edit_amount": (0.7, 1.3),
    "edit_colour": (0.0, 13.0),
    "bg_psnr": (22.0, math.inf),
    "colour_bias": (0.0, 4.0),
    "warp_excess": (-math.inf, 2e-3),
    "motion_ratio": (0.3, 1.8),
    "detail_ratio": (0.6, 1.5),
}
STILL = 2 / 255  # a clip that changes less from frame to frame is still


def edit_acc(source: Tensor, truth: Tensor, output: Tensor) -> Tensor:
    """1 - |y - y*|^2 / |x - y*|^2 over M: 1 perfect, 0 untouched, below 0 worse."""
    target, error = _in_change(source, truth, truth - source, output - truth)
    return _ratio(target.square().sum(1) - error.square().sum(1), target.square().sum(1))


def edit_amount(source: Tensor, truth: Tensor, output: Tensor) -> Tensor:
    """<y - x, y* - x> / |y* - x|^2 over M: the amount of the edit; 1 complete, 0.5 half, above 1 excessive."""
    target, change = _in_change(source, truth, truth - source, output - source)
    return _ratio((target * change).sum(1), target.square().sum(1))


def edit_direction(source: Tensor, truth: Tensor, output: Tensor) -> Tensor:
    """The cosine of y - x and y* - x over M: the direction of the change, whatever its amount; 0 without a change."""
    target, change = _in_change(source, truth, truth - source, output - source)
    return _ratio((target * change).sum(1), target.norm(dim=1) * change.norm(dim=1).clamp_min(1e-6))


def edit_colour(source: Tensor, truth: Tensor, output: Tensor) -> Tensor:
    """Error of the mean colour over M, in levels of 255, of the worst channel."""
    mask = changed_region(source, truth)
    channels = ((output - truth) * mask.unsqueeze(-3)).unbind(-3)
    count = mask.flatten(1).sum(1)
    means = [_ratio(channel.flatten(1).sum(1), count) for channel in channels]
    return torch.stack(means, 1).abs().amax(1) * LEVELS


def bg_psnr(source: Tensor, truth: Tensor, output: Tensor, margin: int = MARGIN) -> Tensor:
    """PSNR in dB of the output against the true edit outside; large pictures may need a wider margin."""
    return to_decibels(_outside_mean(source, truth, (output - truth).square().mean(-3), margin))


def bg_ssim(source: Tensor, truth: Tensor, output: Tensor) -> Tensor:
    """Structural similarity of the output and the true edit outside."""
    return _outside_mean(source, truth, ssim_map(output, truth, local_mean))


def leak(source: Tensor, truth: Tensor, output: Tensor, untouched: Tensor) -> Tensor:
    """Mean |output - untouched| outside, in levels of 255; `untouched` is the source after the model's VAE.

    The change where none was requested, without the reconstruction error of the VAE.
    """
    return _outside_mean(source, truth, (output - untouched).abs().mean(-3)) * LEVELS


def colour_bias(source: Tensor, truth: Tensor, output: Tensor) -> Tensor:
    """Error of the mean colour outside, in levels of 255, of the worst channel."""
    channels = (output - truth).unbind(-3)
    return torch.stack([_outside_mean(source, truth, c) for c in channels], 1).abs().amax(1) * LEVELS


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """SSIM of whole pictures, 1 if equal (Wang et al. 2004; a uniform window, each colour channel by itself)."""
    return ssim_map(first, second, local_mean).flatten(1).mean(1)


def _in_change(source: Tensor, truth: Tensor, *values: Tensor) -> list[Tensor]:
    """The values in M, zero elsewhere, as rows."""
    mask = changed_region(source, truth).unsqueeze(-3)
    return [(value * mask).flatten(1) for value in values]


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(denominator > 0, numerator / denominator.clamp_min(1e-9), torch.nan)


def _outside_mean(source: Tensor, truth: Tensor, values: Tensor, margin: int = MARGIN) -> Tensor:
    """The mean of values (n, ..., h, w) outside; NaN below a share of ``LEAST_OUTSIDE``."""
    mask = changed_region(source, truth)
    dilated = F.max_pool2d(mask.view(-1, 1, *mask.shape[-2:]), 2 * margin + 1, 1, margin).view(mask.shape)
    outside = (1 - dilated).flatten(1)
    mean = (values.flatten(1) * outside).sum(1) / outside.sum(1).clamp_min(1)
    return torch.where(outside.mean(1) >= LEAST_OUTSIDE, mean, torch.nan)


def ssim_map(first: Tensor, second: Tensor, smooth: Callable[[Tensor], Tensor]) -> Tensor:
    """SSIM of the window around each pixel, mean over the colours (Wang et al. 2004, equation 13).

    ``smooth`` takes (..., 3, h, w) to the weighted means over windows.
    """
    ma, mb = smooth(first), smooth(second)
    va, vb = smooth(first * first) - ma * ma, smooth(second * second) - mb * mb
    ab = smooth(first * second) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * ma * mb + c1) * (2 * ab + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))).mean(-3)


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """PSNR in dB for each first index."""
    return to_decibels((first - second).square().flatten(1).mean(1))


def to_decibels(mean_square: Tensor) -> Tensor:
    """PSNR in dB of a mean squared error of pictures in [0, 1]; at most 100."""
    return -10 * torch.log10(mean_square.clamp_min(1e-10))


def warp_error(clips: Tensor, flow: Tensor, visible: Tensor) -> Tensor:
    """Mean squared difference between a frame and the next one warped back along the flow, where that is visible.

    ``clips`` (n, frames, 3, h, w), ``flow`` (n, frames - 1, 2, h, w) in pixels, ``visible`` (n, frames - 1, h, w). A
    still or frozen clip scores well: always report the true clip's own value beside it.
    """
    return _visible_mean((_warped_back(clips, flow) - clips[:, :-1]).square().mean(2), visible)


def warp_excess(truth: Tensor, output: Tensor, flow: Tensor, visible: Tensor) -> Tensor:
    """The warp error of the output above the true edit's own, both along the flow of the edited world."""
    return warp_error(output, flow, visible) - warp_error(truth, flow, visible)


def flicker(truth: Tensor, output: Tensor, flow: Tensor, visible: Tensor) -> Tensor:
    """Mean |change| of the error y - y* along the flow from a frame to the next; a constant error has none."""
    error = output - truth
    return _visible_mean((_warped_back(error, flow) - error[:, :-1]).abs().mean(2), visible)


def motion_ratio(truth: Tensor, output: Tensor) -> Tensor:
    """The change from frame to frame relative to that of the true edit (root mean squares).

    About 1 for a moving clip: snowflakes need not fall where they do in the true edit. NaN where that is still.
    """
    actual, target = (_rms(clips[:, 1:] - clips[:, :-1]) for clips in (output, truth))
    return torch.where(target > STILL, actual / target.clamp_min(STILL), torch.nan)


def detail_ratio(truth: Tensor, output: Tensor) -> Tensor:
    """Fine detail (the difference from the local mean) relative to that of the true edit (root mean squares)."""
    actual, target = (_rms(pictures - local_mean(pictures)) for pictures in (output, truth))
    return torch.where(target > STILL, actual / target.clamp_min(STILL), torch.nan)


def _rms(values: Tensor) -> Tensor:
    return values.square().flatten(1).mean(1).sqrt()


def local_mean(pictures: Tensor) -> Tensor:
    """The mean over a window around each pixel (..., 3, h, w), cut at the border."""
    flat = pictures.reshape(-1, *pictures.shape[-3:])
    return F.avg_pool2d(flat, WINDOW, 1, WINDOW // 2, count_include_pad=False).view(pictures.shape)


def _visible_mean(values: Tensor, visible: Tensor) -> Tensor:
    return (values * visible).flatten(1).sum(1) / visible.flatten(1).sum(1).clamp_min(1)


def _warped_back(clips: Tensor, flow: Tensor) -> Tensor:
    """All frames but the first (n, frames - 1, 3, h, w), each warped to the one before."""
    later = clips[:, 1:]
    return warp(later.flatten(0, 1), flow.flatten(0, 1)).view(later.shape)


def matched_warp_error(clips: Tensor, reach: int = 4, window: int = 5) -> Tensor:
    """Warp error of clips (n, frames, 3, h, w) along their own motion, estimated by block matching.

    For generated clips, which need not move as the true ones do. Each pixel follows the whole-pixel shift of up to
    ``reach`` in both directions whose squared difference is least over a ``window``.
    """
    n, f, _, height, width = clips.shape
    now, then = clips[:, :-1].flatten(0, 1), clips[:, 1:].flatten(0, 1)
    best = torch.full((len(now), height, width), torch.inf, device=clips.device)
    error = best.clone()
    padded = F.pad(then, (reach,) * 4, mode="replicate")
    for dy in range(2 * reach + 1):
        for dx in range(2 * reach + 1):
            cost = (padded[..., dy : dy + height, dx : dx + width] - now).square().mean(1)
            smooth = F.avg_pool2d(cost.unsqueeze(1), window, 1, window // 2).squeeze(1)
            better = smooth < best
            best, error = torch.where(better, smooth, best), torch.where(better, cost, error)
    return error.view(n, f - 1, -1).mean((1, 2))


def measures(source: Tensor, truth: Tensor, output: Tensor, flow: Tensor, visible: Tensor) -> dict[str, Tensor]:
    """The metrics that decide whether a clip is a success, by name."""
    edit = source, truth, output
    return {
        "edit_acc": edit_acc(*edit),
        "edit_amount": edit_amount(*edit),
        "edit_colour": edit_colour(*edit),
        "bg_psnr": bg_psnr(*edit),
        "colour_bias": colour_bias(*edit),
        "warp_excess": warp_excess(truth, output, flow, visible),
        "motion_ratio": motion_ratio(truth, output),
        "detail_ratio": detail_ratio(truth, output),
    }


def success(source: Tensor, truth: Tensor, output: Tensor, flow: Tensor, visible: Tensor) -> Tensor:
    """Whether every metric of a clip lies within its bounds (n,); undefined metrics (NaN) pass.

    For edits with one right answer: an added object may stand elsewhere than in the true edit, and then fails.
    """
    values = measures(source, truth, output, flow, visible)
    within = [
        values[name].isnan() | ((values[name] >= low) & (values[name] <= high)) for name, (low, high) in SUCCESS.items()
    ]
    return torch.stack(within).all(0)
