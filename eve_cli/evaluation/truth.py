"""Measures that need the true edit, which the world knows. All take pictures in [0, 1] and give a value a row.

With x the source, y* the true edit and y the output, M is where y* differs from x by more than 8/255, and "outside" is
what lies further than ``MARGIN`` from M. Pictures are (n, 3, h, w) or clips (n, frames, 3, h, w); values are (n,), and
NaN where there is nothing to measure.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from eve_cli.data.sample import changed_region

MARGIN = 3  # pixels around the change that count neither as changed nor as untouched
LEAST_OUTSIDE = 0.02  # share of the pixels that must be untouched for them to be measured
LEVELS = 255
WINDOW = 7  # pixels of a surrounding; its reach is the margin, so that no window outside sees M
SUCCESS = {  # least and most; where they come from: benchmarks/faults.py and docs/experiments.md
    "edit_acc": (0.5, math.inf),
    "edit_amount": (0.7, 1.3),
    "edit_colour": (0.0, 13.0),
    "bg_psnr": (22.0, math.inf),
    "colour_bias": (0.0, 4.0),
    "warp_excess": (-math.inf, 2e-3),
    "motion_ratio": (0.3, 1.8),
    "detail_ratio": (0.6, 1.5),
}
STILL = 2 / 255  # a clip that changes less from frame to frame stands still


def edit_acc(source: Tensor, truth: Tensor, output: Tensor) -> Tensor:
    """1 - |y - y*|^2 / |x - y*|^2 over M: 1 perfect, 0 untouched, below 0 worse."""
    asked, wrong = _in_change(source, truth, truth - source, output - truth)
    return _share(asked.square().sum(1) - wrong.square().sum(1), asked.square().sum(1))


def edit_amount(source: Tensor, truth: Tensor, output: Tensor) -> Tensor:
    """<y - x, y* - x> / |y* - x|^2 over M: how much of the edit is made; 1 whole, 0.5 half, above 1 overdone."""
    asked, made = _in_change(source, truth, truth - source, output - source)
    return _share((asked * made).sum(1), asked.square().sum(1))


def edit_direction(source: Tensor, truth: Tensor, output: Tensor) -> Tensor:
    """The cosine of y - x and y* - x over M: whether what changed is what was asked, however much; 0 if nothing did."""
    asked, made = _in_change(source, truth, truth - source, output - source)
    return _share((asked * made).sum(1), asked.norm(dim=1) * made.norm(dim=1).clamp_min(1e-6))


def edit_colour(source: Tensor, truth: Tensor, output: Tensor) -> Tensor:
    """How far the mean colour of what changes is off, in levels of 255: the channel that is off most."""
    mask = changed_region(source, truth)
    channels = ((output - truth) * mask.unsqueeze(-3)).unbind(-3)
    count = mask.flatten(1).sum(1)
    means = [_share(channel.flatten(1).sum(1), count) for channel in channels]
    return torch.stack(means, 1).abs().amax(1) * LEVELS


def bg_psnr(source: Tensor, truth: Tensor, output: Tensor, margin: int = MARGIN) -> Tensor:
    """PSNR in dB of the output against the true edit outside; large pictures may ask for a wider margin."""
    mean = _outside_mean(source, truth, (output - truth).square().mean(-3), margin)
    return -10 * torch.log10(mean.clamp_min(1e-10))


def bg_ssim(source: Tensor, truth: Tensor, output: Tensor) -> Tensor:
    """Structural similarity of the output and the true edit outside."""
    return _outside_mean(source, truth, _ssim_map(output, truth))


def leak(source: Tensor, truth: Tensor, output: Tensor, untouched: Tensor) -> Tensor:
    """Mean |output - untouched| outside, in levels of 255; `untouched` is the source as the model's codec gives it.

    What an edit does where it should do nothing, without the faults of the codec.
    """
    return _outside_mean(source, truth, (output - untouched).abs().mean(-3)) * LEVELS


def colour_bias(source: Tensor, truth: Tensor, output: Tensor) -> Tensor:
    """How far the mean colour outside is off, in levels of 255: the channel that is off most."""
    channels = (output - truth).unbind(-3)
    return torch.stack([_outside_mean(source, truth, c) for c in channels], 1).abs().amax(1) * LEVELS


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity of whole pictures, 1 if equal (Wang et al. 2004; an even window, the colours apart)."""
    return _ssim_map(first, second).flatten(1).mean(1)


def _in_change(source: Tensor, truth: Tensor, *values: Tensor) -> list[Tensor]:
    """The values in M, zero elsewhere, as rows."""
    mask = changed_region(source, truth).unsqueeze(-3)
    return [(value * mask).flatten(1) for value in values]


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole.clamp_min(1e-9), torch.nan)


def _outside_mean(source: Tensor, truth: Tensor, values: Tensor, margin: int = MARGIN) -> Tensor:
    """The mean of values (n, ..., h, w) outside; NaN if hardly anything is."""
    mask = changed_region(source, truth)
    near = F.max_pool2d(mask.view(-1, 1, *mask.shape[-2:]), 2 * margin + 1, 1, margin).view(mask.shape)
    outside = (1 - near).flatten(1)
    mean = (values.flatten(1) * outside).sum(1) / outside.sum(1).clamp_min(1)
    return torch.where(outside.mean(1) >= LEAST_OUTSIDE, mean, torch.nan)


def _ssim_map(first: Tensor, second: Tensor) -> Tensor:
    """SSIM around every pixel (n, ..., h, w), mean over the colours; windows are cut at the border."""
    a, b = first, second
    ma, mb = _smooth(a), _smooth(b)
    va, vb, ab = _smooth(a * a) - ma * ma, _smooth(b * b) - mb * mb, _smooth(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * ma * mb + c1) * (2 * ab + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))).mean(-3)


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """PSNR in dB for each first index."""
    return -10 * torch.log10((first - second).square().flatten(1).mean(1).clamp_min(1e-10))


def warp_error(clips: Tensor, flow: Tensor, visible: Tensor) -> Tensor:
    """Mean squared difference between a frame and the next one brought back along the flow, where that is visible.

    ``clips`` (n, frames, 3, h, w), ``flow`` (n, frames - 1, 2, h, w) in pixels, ``visible`` (n, frames - 1, h, w). A
    still or frozen clip scores well: always show the true clip's own value beside it.
    """
    return _seen_mean((_brought_back(clips, flow) - clips[:, :-1]).square().mean(2), visible)


def warp_excess(truth: Tensor, output: Tensor, flow: Tensor, visible: Tensor) -> Tensor:
    """The warp error of the output above the true edit's own, both along the flow of the edited world."""
    return warp_error(output, flow, visible) - warp_error(truth, flow, visible)


def flicker(truth: Tensor, output: Tensor, flow: Tensor, visible: Tensor) -> Tensor:
    """Mean |change| along the flow of what is wrong (y - y*) from a frame to the next; a lasting error is none."""
    wrong = output - truth
    return _seen_mean((_brought_back(wrong, flow) - wrong[:, :-1]).abs().mean(2), visible)


def motion_ratio(truth: Tensor, output: Tensor) -> Tensor:
    """How much the output changes from frame to frame beside the true edit (root mean squares).

    About 1 for any lively clip: flakes need not fall where they do in the true edit. NaN where that stands still.
    """
    made, asked = (_rms(clips[:, 1:] - clips[:, :-1]) for clips in (output, truth))
    return torch.where(asked > STILL, made / asked.clamp_min(STILL), torch.nan)


def detail_ratio(truth: Tensor, output: Tensor) -> Tensor:
    """How much fine detail, that which differs from its surroundings, the output has beside the true edit."""
    made, asked = (_rms(pictures - _smooth(pictures)) for pictures in (output, truth))
    return torch.where(asked > STILL, made / asked.clamp_min(STILL), torch.nan)


def _rms(values: Tensor) -> Tensor:
    return values.square().flatten(1).mean(1).sqrt()


def _smooth(pictures: Tensor) -> Tensor:
    """The mean over a window around each pixel."""
    flat = pictures.reshape(-1, *pictures.shape[-3:])
    return F.avg_pool2d(flat, WINDOW, 1, WINDOW // 2, count_include_pad=False).view(pictures.shape)


def _seen_mean(values: Tensor, visible: Tensor) -> Tensor:
    return (values * visible).flatten(1).sum(1) / visible.flatten(1).sum(1).clamp_min(1)


def _brought_back(clips: Tensor, flow: Tensor) -> Tensor:
    """All frames but the first (n, frames - 1, 3, h, w), each as seen from the one before."""
    n, frames, _, height, width = clips.shape
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32), torch.arange(width, dtype=torch.float32), indexing="ij"
    )
    at_x = (x.to(flow) + flow[:, :, 0]) * 2 / (width - 1) - 1
    at_y = (y.to(flow) + flow[:, :, 1]) * 2 / (height - 1) - 1
    grid = torch.stack([at_x, at_y], -1).flatten(0, 1)
    later = F.grid_sample(clips[:, 1:].flatten(0, 1), grid, align_corners=True, padding_mode="border")
    return later.view(n, frames - 1, 3, height, width)


def matched_warp_error(clips: Tensor, reach: int = 4, window: int = 5) -> Tensor:
    """Warp error of clips (n, frames, 3, h, w) along their own motion, found by block matching.

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
    """The measures by which clips succeed or fail, by name."""
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
    """Whether every measure of a clip lies within its bounds (n,); what cannot be measured is no fault.

    For edits with one right answer: an added thing may well stand elsewhere than in the true edit, and then fails.
    """
    found = measures(source, truth, output, flow, visible)
    within = [
        found[name].isnan() | ((found[name] >= low) & (found[name] <= high)) for name, (low, high) in SUCCESS.items()
    ]
    return torch.stack(within).all(0)


def confidence(values: Tensor, level: float = 0.95, draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Mean of the finite values with a bootstrap interval (mean, low, high)."""
    finite = values[torch.isfinite(values)]
    if not len(finite):
        return float("nan"), float("nan"), float("nan")
    g = torch.Generator().manual_seed(seed)
    means = finite[torch.randint(len(finite), (draws, len(finite)), generator=g)].mean(1)
    low, high = means.quantile((1 - level) / 2), means.quantile((1 + level) / 2)
    return float(finite.mean()), float(low), float(high)
