"""The places: what stands behind and under the things. Every function takes a batch and paints only its own place."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from eve_cli.data.world.shapes import box, circle, polygon

HORIZON = 0.12  # y of the horizon; the picture spans -1 (top) to 1


def rgb(*value: float) -> Tensor:
    """A colour as (3, 1, 1)."""
    return torch.tensor(value).view(3, 1, 1)


def cover(distance: Tensor, pixel: float) -> Tensor:
    """Antialiased coverage in [0, 1] of what lies inside a signed distance."""
    return (0.5 - distance / pixel).clamp(0, 1)


def blend(under: Tensor, paint: Tensor, alpha: Tensor) -> Tensor:
    """Paint (n or 1, 3, h, w) laid over ``under`` (n, 3, h, w) by ``alpha`` (n, h, w)."""
    return torch.lerp(under, paint.expand_as(under), alpha.unsqueeze(1))


def hashed(*keys: Tensor | int) -> Tensor:
    """Pseudo-random numbers in [0, 1), a pure function of integer tensors, the same on every device."""
    state: Tensor | int = 0x2545F491
    for key in keys:
        state = ((state ^ key) * 0x45D9F3B) & 0x7FFFFFFF
        state = ((state >> 15) ^ state) * 0x2C1B3C6D & 0x7FFFFFFF
    assert isinstance(state, Tensor)
    return ((state >> 12) ^ state).bitwise_and(0xFFFF).float() / 65536


def cells(u: Tensor, v: Tensor, size: float | Tensor, seed: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Divide the plane into squares: coordinates inside each (-0.5 ... 0.5, jittered), and two chance numbers of it."""
    gu, gv = u / size, v / size
    iu, iv = gu.floor().long(), gv.floor().long()
    first, second = hashed(iu, iv, seed), hashed(iv, iu, seed + 77)
    return gu - iu - 0.5 - 0.5 * (first - 0.5), gv - iv - 0.5 - 0.5 * (second - 0.5), first, second


# A place gets the far layer's coordinates (u, v), the ground's (gu, gv), the pixel size and chance numbers (n, 1, 1),
# and gives back the far layer's coverage and paint and the ground's paint.
Painted = tuple[Tensor, Tensor, Tensor]


def hills(u: Tensor, r: Tensor, height: float, wave: float) -> Tensor:
    return HORIZON - height * (1 + 0.6 * torch.sin(wave * u + 6.3 * r) + 0.3 * torch.sin(1.7 * wave * u + 11 * r))


def ground_of(near: Tensor, far: Tensor, gv: Tensor) -> Tensor:
    """A ground shaded from ``far`` at the horizon to ``near`` at the feet."""
    return torch.lerp(far, near, ((gv - HORIZON) / 0.8).clamp(0, 1).unsqueeze(1))


def meadow(u: Tensor, v: Tensor, gu: Tensor, gv: Tensor, pixel: float, r: Tensor, seed: Tensor) -> Painted:
    far = cover(hills(u, r, 0.16, 2.2) - v, pixel)
    ground = ground_of(rgb(0.36, 0.74, 0.25), rgb(0.56, 0.83, 0.36), gv)
    x, y, pick, _ = cells(gu, gv, 0.36, seed)
    flower = cover(((x * x + y * y).sqrt() - 0.15) * 0.36, pixel) * (pick < 0.55) * (gv > HORIZON + 0.14)
    return far, rgb(0.30, 0.60, 0.30), blend(ground, rgb(0.99, 0.93, 0.97), flower)


def beach(u: Tensor, v: Tensor, gu: Tensor, gv: Tensor, pixel: float, r: Tensor, seed: Tensor) -> Painted:
    shore = HORIZON + 0.3 + 0.03 * torch.sin(4 * gu + 6.3 * r)
    sand = ground_of(rgb(0.95, 0.85, 0.58), rgb(0.93, 0.80, 0.52), gv)
    foam = cover((gv - shore).abs() - 0.035, pixel)
    ground = blend(blend(sand, rgb(0.12, 0.52, 0.80), cover(gv - shore, pixel)), rgb(0.97, 0.99, 1.0), foam)
    return torch.zeros_like(v), rgb(0.12, 0.52, 0.80), ground


def desert(u: Tensor, v: Tensor, gu: Tensor, gv: Tensor, pixel: float, r: Tensor, seed: Tensor) -> Painted:
    dunes = cover(hills(u, r, 0.12, 3.1) - v, pixel)
    at = u - (r - 0.5) * 1.6
    cactus = torch.minimum(
        box(at, v, 0, -0.1, 0.06, 0.3, 0.06),
        torch.minimum(box(at, v, 0.12, -0.16, 0.14, 0.05, 0.04), box(at, v, 0.23, -0.25, 0.045, 0.13, 0.04)),
    )
    green = cover(cactus, pixel)
    far = torch.maximum(dunes, green)
    paint = blend(rgb(0.90, 0.62, 0.35).expand(len(v), 3, *v.shape[1:]), rgb(0.22, 0.52, 0.28), green)
    ripple = (0.5 + 0.5 * torch.sin(16 * gv + 3 * torch.sin(2 * gu + 6.3 * r))).unsqueeze(1)
    return far, paint, torch.lerp(rgb(0.96, 0.73, 0.42), rgb(0.91, 0.65, 0.35), ripple)


def city(u: Tensor, v: Tensor, gu: Tensor, gv: Tensor, pixel: float, r: Tensor, seed: Tensor) -> Painted:
    width = 0.42
    column = (u / width).floor().long()
    pick = hashed(column, seed)
    top = -0.62 + 0.55 * pick
    x = u - (column + 0.5) * width
    far = cover(torch.maximum(x.abs() - 0.195, top - v), pixel)
    tone = (0.42 + 0.25 * hashed(column, seed + 5)).unsqueeze(1)
    wall = tone * rgb(0.95, 0.98, 1.1)
    row = ((v - top) / 0.2).floor().long()
    y = v - top - (row + 0.5) * 0.2
    lit = hashed(column, row, seed) < 0.75
    window = cover(torch.maximum((x.abs() - 0.09).abs() - 0.05, y.abs() - 0.055), pixel) * lit * (v > top + 0.04)
    paint = blend(wall.expand(-1, 3, *v.shape[1:]), rgb(1.0, 0.93, 0.55), window)
    dash = cover(torch.maximum((gv - 0.86).abs() - 0.03, ((gu * 1.6).frac().abs() - 0.5).abs() * 0.6 - 0.16), pixel)
    ground = ground_of(rgb(0.40, 0.41, 0.44), rgb(0.52, 0.53, 0.55), gv)
    kerb = cover((gv - HORIZON - 0.16).abs() - 0.03, pixel)
    return far, paint, blend(blend(ground, rgb(0.8, 0.8, 0.78), kerb), rgb(0.95, 0.93, 0.85), dash)


def mountains(u: Tensor, v: Tensor, gu: Tensor, gv: Tensor, pixel: float, r: Tensor, seed: Tensor) -> Painted:
    distance, height = None, None
    for at, tall in ((-0.85, 0.62), (-0.1, 0.85), (0.7, 0.7)):
        x = u - at - 0.3 * (r - 0.5)
        peak = (v - HORIZON + tall) - 1.25 * x.abs()
        near = -peak * 0.62
        distance = near if distance is None else torch.minimum(distance, near)
        height = peak if height is None else torch.maximum(height, peak)
    assert distance is not None and height is not None
    far = cover(torch.maximum(distance, v - HORIZON - 0.02), pixel)
    jag = 0.05 * torch.sin(24 * u)
    snow = cover(torch.maximum(height - 0.3 + jag, -height), pixel)
    rock = rgb(0.46, 0.45, 0.56).expand(len(v), 3, *v.shape[1:])
    ground = ground_of(rgb(0.52, 0.60, 0.36), rgb(0.46, 0.52, 0.42), gv)
    return far, blend(rock, rgb(0.96, 0.97, 1.0), snow), ground


def forest(u: Tensor, v: Tensor, gu: Tensor, gv: Tensor, pixel: float, r: Tensor, seed: Tensor) -> Painted:
    width = 0.34
    column = (u / width).floor().long()
    pick = hashed(column, seed)
    x = u - (column + 0.5) * width
    top = -0.62 + 0.3 * pick
    tiers = torch.full_like(v, 9.0)
    for i in range(3):
        y = v - top - 0.2 * i
        tiers = torch.minimum(tiers, torch.maximum(torch.maximum(x.abs() - 0.5 * y, y - 0.36), -y) * 0.9)
    trunk = torch.maximum(x.abs() - 0.035, torch.maximum(top + 0.6 - v, v - HORIZON - 0.03))
    backdrop = cover(-0.12 - 0.1 * torch.sin(5 * u + 6.3 * r) - v, pixel)
    far = torch.maximum(backdrop, torch.maximum(cover(tiers, pixel), cover(trunk, pixel)))
    paint = blend(rgb(0.20, 0.42, 0.30).expand(len(v), 3, *v.shape[1:]), rgb(0.35, 0.24, 0.16), cover(trunk, pixel))
    shade = (0.85 + 0.3 * pick).unsqueeze(1)
    paint = blend(paint, shade * rgb(0.09, 0.37, 0.20), cover(tiers, pixel))
    return far, paint, ground_of(rgb(0.34, 0.40, 0.18), rgb(0.26, 0.36, 0.18), gv)


PAINTERS: dict[str, Callable[..., Painted]] = {
    "meadow": meadow,
    "beach": beach,
    "desert": desert,
    "city": city,
    "mountains": mountains,
    "forest": forest,
}

SKIES = {
    "day": ((0.33, 0.64, 0.96), (0.80, 0.92, 1.0)),
    "sunset": ((0.42, 0.25, 0.55), (1.0, 0.60, 0.28)),
    "night": ((0.02, 0.03, 0.13), (0.11, 0.13, 0.33)),
}
AMBIENCE = {"day": (1.0, 1.0, 1.0), "sunset": (1.0, 0.76, 0.60), "night": (0.40, 0.46, 0.74)}


def sky(time: str, u: Tensor, v: Tensor, pixel: float, r: Tensor, seed: Tensor) -> Tensor:
    """The sky of a time of day with its sun, or moon and stars, as (n, 3, h, w)."""
    top, low = SKIES[time]
    paint = torch.lerp(rgb(*top), rgb(*low), ((v + 1) / (1 + HORIZON)).clamp(0, 1).unsqueeze(1))
    at = (r - 0.5) * 1.1
    if time == "day":
        return blend(paint, rgb(1.0, 0.95, 0.55), cover(circle(u - at, v, 0, -0.7, 0.16), pixel))
    if time == "sunset":
        glow = (1 - ((u - at).square() + (v - HORIZON).square()).sqrt() / 0.9).clamp(0, 1) * 0.5
        paint = blend(paint, rgb(1.0, 0.85, 0.45), glow)
        return blend(paint, rgb(1.0, 0.90, 0.40), cover(circle(u - at, v, 0, HORIZON - 0.08, 0.24), pixel))
    x, y, pick, _ = cells(u, v, 0.3, seed + 13)
    star = cover(((x * x + y * y).sqrt() - 0.1) * 0.3, pixel) * (pick < 0.5)
    paint = blend(paint, rgb(1.0, 1.0, 0.85), star)
    moon = torch.maximum(circle(u - at, v, 0, -0.68, 0.17), -circle(u - at, v, 0.1, -0.73, 0.14))
    return blend(paint, rgb(0.98, 0.96, 0.80), cover(moon, pixel))


def flakes(u: Tensor, v: Tensor, frame: Tensor, pixel: float, seed: Tensor, count: int = 6) -> Tensor:
    """Coverage of falling snow: about ``count`` squared flakes in a square picture, moving with the frame number."""
    size = 2 / count
    sway = 0.06 * torch.sin(0.35 * frame + 5 * v)
    x, y, pick, _ = cells(u + sway, v - 0.09 * frame, size, seed + 31)
    return cover(((x * x + y * y).sqrt() - 0.17) * size, pixel) * (pick < 0.85)


def streaks(u: Tensor, v: Tensor, frame: Tensor, pixel: float, seed: Tensor, count: int = 7) -> Tensor:
    """Coverage of falling rain: slanted streaks, moving with the frame number."""
    size = 2 / count
    slanted = u + 0.25 * v
    row = (slanted / size).floor().long()
    shift = hashed(row, seed + 3) * 2
    x, y, pick, _ = cells(slanted, (v - 0.31 * frame + shift) / 2, size, seed + 57)
    line = polygon(x, y, (-0.07, -0.3), (0.07, -0.3), (0.07, 0.3), (-0.07, 0.3))
    return cover(line * size, pixel) * (pick < 0.8)
