"""Scales an edit from the model's resolution to the source's, with the source's detail where it remains valid.

At the model's size, with `change = after - before`, a local affine map of the source's colours (a guided filter with a
colour guide, He et al. 2013) is fitted to the change. What the map explains is a change of colour, light or haze: the
source's detail goes through the same map, so that it darkens at night and fades in fog. What the map cannot explain is
a change of structure: there the detail fades away. Residuals as small as the model's own error count as no change.

The copying error of a small model looks like a change. Where the effect of the instruction is known (`effect`: the
model's frames without and with it), the map is fitted to that and then applied to the source, and what the two have in
common is left unchanged. The edited frames are then used only where the map explains little.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

RADIUS = 3
REGULARITY = 3e-4
STRUCTURE, SPREAD = 0.15, 6
STRUCTURE_OF_EFFECT = 0.25
MIN_CHANGE, DOUBT, SHARPNESS = 0.1, 0.5, 4
ERROR_SCALE = 3.0
ERROR_LIMIT = 0.12
GAIN_LIMIT = 1.2
FINE, FINE_RADIUS, FINE_ENERGY, FINE_SIDE = 1, 4, 2e-4, 80
LOCAL_LIMITS, GLOBAL_LIMITS = (0.78, 0.90), (0.68, 0.80)
MOST_FROM, MOST_TO = 0.45, 0.75


@dataclass(frozen=True)
class Maps:
    """What to do to full-size frames, at the model's size.

    `before` and `change` are (f, 3, h, w): the codec's view of the source, and what is added to it. `detail`
    (f, 9, h, w) holds a 3 x 3 matrix for each pixel that is applied to the source's detail, and added too.
    """

    before: Tensor
    change: Tensor
    detail: Tensor

    def frame(self, number: int) -> "Maps":
        """The maps of one frame."""
        one = slice(number, number + 1)
        return Maps(self.before[one], self.change[one], self.detail[one])


def plan(before: Tensor, after: Tensor, effect: Tensor | None = None) -> Maps:
    """The maps of frames (f, 3, h, w) in [0, 1], as the codec shows them and edited; zero where the two are equal.

    `effect` (2 or 3, f, 3, h, w) are frames without and with the instruction, and light to be added (`particles`).
    """
    left, right = (before, after) if effect is None else effect[:2]
    matrix, offset = fit_affine(left, right - left)
    residual = right - left - (_mapped(matrix, left) + offset)
    unexplained = residual.norm(dim=1, keepdim=True)
    error = ERROR_SCALE * unexplained.flatten(1).median(1).values.view(-1, 1, 1, 1)
    error = error.clamp(1e-6, ERROR_LIMIT)
    change = _mapped(matrix, before) + offset + residual * _fade(residual, error)
    if effect is None:
        share = _fade(change, error)
        weight = structure_weight(unexplained, (share * change).norm(dim=1, keepdim=True))
    else:
        fine_local, fine_global = fine_gain(left, right, left + _mapped(matrix, left) + offset)
        share = torch.maximum(everywhere(change_share(right - left, left - before)), 1 - fine_global)
        weight = _box(torch.exp(-((unexplained / STRUCTURE_OF_EFFECT) ** 2)), 1) * fine_local * fine_global
        change = weight * change + (1 - weight) * (torch.lerp(right, after, fine_global) - before)
    identity = torch.eye(3, device=before.device).view(1, 3, 3, 1, 1)
    detail = weight[:, None] * (identity + matrix.clamp(-GAIN_LIMIT, GAIN_LIMIT)) - identity
    change = share * change
    if effect is not None and len(effect) > 2:
        change = change + (effect[2] - _box(unexplained, 2)).clamp_min(0)
    return Maps(before, change, (share[:, None] * detail).flatten(1, 2))


def change_share(difference: Tensor, error: Tensor) -> Tensor:
    """How far a difference (f, 3, h, w) is part of the edit, (f, 1, h, w) in [0, 1], given the local copying error."""
    least = MIN_CHANGE + DOUBT * _length(error, 2)
    return 1 - torch.exp(-((_length(difference, 1) / least) ** SHARPNESS))


def everywhere(share: Tensor) -> Tensor:
    """The share, raised to 1 everywhere in frames of which most changes, as under a look.

    Parts that looked like the result before then change too, so that no border shows.
    """
    most = ((share.mean((1, 2, 3), keepdim=True) - MOST_FROM) / (MOST_TO - MOST_FROM)).clamp(0, 1)
    return share + (1 - share) * most


def fine_gain(left: Tensor, right: Tensor, mapped: Tensor) -> tuple[Tensor, Tensor]:
    """Whether the finest detail of `mapped` is in `right`, 0 to 1: at each place (f, 1, h, w), and in all (f, 1, 1, 1).

    Near 0 for blocks, 1 for light. `left` are the frames to which the local map was fitted. The map is fitted over
    several pixels, so it does not show that an effect smooths finer detail; detail that is lost at the model's size is
    lost at the source's too. The result is 1 where there is no fine detail to compare, and in frames with fewer than
    `FINE_SIDE` rows, whose pixels are as large as eyes and lips.
    """
    if min(left.shape[-2:]) < FINE_SIDE:
        ones = left.new_ones(len(left), 1, *left.shape[-2:])
        return ones, ones[..., :1, :1]
    before, after, expected = (_fine(frames) for frames in (left, right, mapped))
    energy_after, energy_mapped = _box(before * after, FINE_RADIUS), _box(before * expected, FINE_RADIUS)
    confidence = (energy_mapped.abs() / (FINE_ENERGY + _box(before.square(), FINE_RADIUS))).clamp(0, 1)
    ratio = (energy_after * energy_mapped / (energy_mapped.square() + 1e-9)).clamp(0, 1)
    energy = (before * expected).mean((1, 2, 3), keepdim=True)
    global_gain = torch.where(energy.abs() > 1e-7, (before * after).mean((1, 2, 3), keepdim=True) / energy, 1.0)
    return _above(_box(1 - confidence * (1 - ratio), 2), LOCAL_LIMITS), _above(global_gain, GLOBAL_LIMITS)


def _above(gain: Tensor, limits: tuple[float, float]) -> Tensor:
    return ((gain - limits[0]) / (limits[1] - limits[0])).clamp(0, 1)


def _fine(frames: Tensor) -> Tensor:
    return (frames - _box(frames, FINE)).mean(1, keepdim=True)


def fit_affine(guide: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The local map `target ~ matrix . guide + offset`: (f, 3 in, 3 out, h, w) and (f, 3, h, w)."""
    mean_guide, mean_target = _box(guide, RADIUS), _box(target, RADIUS)
    channels = range(guide.shape[1])
    spread = [_box(guide[:, c : c + 1] * guide, RADIUS) - mean_guide[:, c : c + 1] * mean_guide for c in channels]
    shared = [_box(guide[:, c : c + 1] * target, RADIUS) - mean_guide[:, c : c + 1] * mean_target for c in channels]
    matrix = solve_symmetric(torch.stack(spread, 1), torch.stack(shared, 1), REGULARITY)
    offset = mean_target - _mapped(matrix, mean_guide)
    return _box(matrix.flatten(1, 2), RADIUS).view_as(matrix), _box(offset, RADIUS)


def solve_symmetric(matrix: Tensor, right: Tensor, ridge: float) -> Tensor:
    """Solves `(matrix + ridge I) x = right` in every pixel at once, by an LDL' factorization written out.

    `matrix` (f, 3, 3, h, w) is symmetric and positive semidefinite, `right` (f, 3, n, h, w); so is the result. Millions
    of systems as small as these take about as long as a few products of frames.
    """
    (a, b, c), (d, e), f = matrix[:, 0].unbind(1), matrix[:, 1, 1:].unbind(1), matrix[:, 2, 2]
    first = a + ridge
    low_10, low_20 = b / first, c / first
    second = d + ridge - low_10 * b
    rest = e - low_10 * c
    low_21 = rest / second
    third = f + ridge - low_20 * c - low_21 * rest
    low_10, low_20, low_21 = low_10[:, None], low_20[:, None], low_21[:, None]
    x = right[:, 0]
    y = right[:, 1] - low_10 * x
    z = (right[:, 2] - low_20 * x - low_21 * y) / third[:, None]
    y = y / second[:, None] - low_21 * z
    return torch.stack([x / first[:, None] - low_10 * y - low_20 * z, y, z], 1)


def structure_weight(unexplained: Tensor, change: Tensor) -> Tensor:
    """How much of the source's detail still holds, (f, 1, h, w) in [0, 1].

    An added thing is unexplained along its rim alone, so what is unexplained counts within `SPREAD` pixels, as far as
    there is a change at all.
    """
    spread_residual = functional.max_pool2d(unexplained, 2 * SPREAD + 1, 1, SPREAD)
    doubt = torch.maximum(torch.minimum(spread_residual, change), unexplained)
    return _box(torch.exp(-((doubt / STRUCTURE) ** 2)), 1)


def apply(source: Tensor, maps: Maps) -> Tensor:
    """Full-size frames of the edit, (f, 3, height, width); exactly the source where the maps are zero."""
    size = [source.shape[-2], source.shape[-1]]
    smooth = functional.interpolate(torch.cat([maps.before, maps.change], 1), size, mode="bicubic")
    detail = source - smooth[:, :3]
    matrix = functional.interpolate(maps.detail, size, mode="bilinear")
    edited = source + smooth[:, 3:]
    for channel in range(3):
        edited += matrix[:, 3 * channel : 3 * channel + 3] * detail[:, channel : channel + 1]
    return edited


def _box(values: Tensor, radius: int) -> Tensor:
    padded = functional.pad(values, (radius,) * 4, mode="replicate")
    return functional.avg_pool2d(padded, 2 * radius + 1, 1)


def _mapped(matrix: Tensor, values: Tensor) -> Tensor:
    """Colours (f, 3, h, w) through the matrix of their place (f, 3 in, 3 out, h, w)."""
    return (matrix * values[:, :, None]).sum(1)


def _length(vectors: Tensor, radius: int) -> Tensor:
    """Root of the mean squared length within `radius` pixels, (f, 1, h, w)."""
    return _box(vectors.square().sum(1, keepdim=True), radius).sqrt()


def _fade(values: Tensor, size: Tensor) -> Tensor:
    """Near 0 where vectors are shorter than `size`, near 1 where they are longer."""
    return 1 - torch.exp(-((values.norm(dim=1, keepdim=True) / size) ** 2))
