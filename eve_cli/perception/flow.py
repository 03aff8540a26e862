"""Optical flow without weights: block matching from coarse to fine, in torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

COARSEST = 24  # pixels of the shorter side below which a picture is not halved again
WINDOW = 7  # pixels over which two places are compared
REACH = 1  # pixels searched around the coarser level's answer, both ways; more at the coarsest
COARSEST_REACH = 3
ROUNDS = 2  # searches on a level
# Exchanges that bring the middle of nine values to place 4 (Smith 1996): eight times quicker than sorting them.
MIDDLE_OF_NINE = (
    *((1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3)),
    *((5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2)),
)
STAYING = 1e-3  # what moving away from the coarser answer costs, so that flat places keep it


def between(now: Tensor, then: Tensor) -> tuple[Tensor, Tensor]:
    """The flow (n, 2, h, w) in pixels from frames to the next ones, and where a point of them is still seen (n, h, w).

    Frames are (n, 3, h, w) in [0, 1]. Seen is what forward and backward flow agree on (Sundaram et al. 2010).
    """
    forward, backward = estimate(now, then), estimate(then, now)
    there = warp(backward, forward)
    gap = (forward + there).square().sum(1)
    allowed = 0.01 * (forward.square().sum(1) + there.square().sum(1)) + 0.5
    at_x, at_y = places(forward)
    height, width = now.shape[-2:]
    inside = (at_x >= 0) & (at_x <= width - 1) & (at_y >= 0) & (at_y <= height - 1)
    return forward, ((gap <= allowed) & inside).to(now.dtype)


def estimate(now: Tensor, then: Tensor) -> Tensor:
    """The flow (n, 2, h, w) alone."""
    levels = [(now, then)]
    while min(levels[-1][0].shape[-2:]) >= 2 * COARSEST:
        levels.append((halved(levels[-1][0]), halved(levels[-1][1])))
    height, width = levels[-1][0].shape[-2:]
    flow = now.new_zeros(len(now), 2, height, width)
    for depth, (first, second) in reversed(list(enumerate(levels))):
        if flow.shape[-2:] != first.shape[-2:]:
            ratio = [a / b for a, b in zip(first.shape[:-3:-1], flow.shape[:-3:-1], strict=True)]
            flow = F.interpolate(flow, first.shape[-2:], mode="bilinear", align_corners=False)
            flow = flow * flow.new_tensor(ratio).view(1, 2, 1, 1)
        reach = COARSEST_REACH if depth == len(levels) - 1 else REACH
        for _ in range(ROUNDS):
            flow = median(search(first, second, flow, reach))
    return flow


def search(first: Tensor, second: Tensor, flow: Tensor, reach: int) -> Tensor:
    """A better flow: around each point's own, the shift whose window differs least, to a part of a pixel.

    The second picture is brought back along the flow once, and shifted; what is found is then tried in truth, so that
    a point's flow never becomes worse.
    """
    height, width = first.shape[-2:]
    side = 2 * reach + 1
    back = F.pad(warp(second, flow), (reach,) * 4, mode="replicate")
    costs = []
    for dy in range(side):
        for dx in range(side):
            away = ((dx - reach) ** 2 + (dy - reach) ** 2) ** 0.5
            costs.append(_apart(back[..., dy : dy + height, dx : dx + width], first) + STAYING * away)
    table = torch.cat(costs, 1)
    best = table.argmin(1, keepdim=True)
    column, row = best % side, best // side
    at = table.gather(1, best)
    parts = []
    for line, stride in ((column, 1), (row, side)):
        inner = (line > 0) & (line < side - 1)
        low = table.gather(1, (best - stride * inner).clamp(0, side * side - 1))
        high = table.gather(1, (best + stride * inner).clamp(0, side * side - 1))
        bend = (low + high - 2 * at).clamp_min(1e-6)
        parts.append(torch.where(inner, ((low - high) / (2 * bend)).clamp(-0.5, 0.5), 0))
    whole = flow + torch.cat([column, row], 1) - reach
    error = costs[len(costs) // 2]  # of the flow as it is
    for candidate in (whole, whole + torch.cat(parts, 1)):
        candidate_error = _apart(warp(second, candidate), first)
        flow = torch.where(candidate_error < error, candidate, flow)
        error = torch.minimum(candidate_error, error)
    return flow


def _apart(one: Tensor, other: Tensor) -> Tensor:
    """How much pictures differ around each point (n, 1, h, w)."""
    return F.avg_pool2d((one - other).abs().mean(1, keepdim=True), WINDOW, 1, WINDOW // 2, count_include_pad=False)


def warp(pictures: Tensor, flow: Tensor) -> Tensor:
    """Pictures (n, c, h, w) as seen from where the flow begins: each point fetched from where it goes."""
    height, width = pictures.shape[-2:]
    x, y = places(flow)
    grid = torch.stack([x * 2 / max(1, width - 1) - 1, y * 2 / max(1, height - 1) - 1], -1)
    return F.grid_sample(pictures, grid, align_corners=True, padding_mode="border")


def places(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Where points go, x and y (n, h, w) in pixels."""
    height, width = flow.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return x.to(flow) + flow[:, 0], y.to(flow) + flow[:, 1]


def halved(pictures: Tensor) -> Tensor:
    """Half as high and wide, odd sides rounded up."""
    return F.avg_pool2d(pictures, 2, ceil_mode=True, count_include_pad=False)


def median(flow: Tensor) -> Tensor:
    """The median over 3 x 3, each direction by itself: removes isolated errors and preserves edges."""
    height, width = flow.shape[-2:]
    padded = F.pad(flow, (1, 1, 1, 1), mode="replicate")
    rows = [padded[..., dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)]
    for low, high in MIDDLE_OF_NINE:
        rows[low], rows[high] = torch.minimum(rows[low], rows[high]), torch.maximum(rows[low], rows[high])
    return rows[4]
