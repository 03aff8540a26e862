"""Pictures changed by program: weather, light and drawing styles.

Every effect takes frames (..., frames, 3, height, width) in 0-1, a seed, and the number of the first frame, and gives
frames of the same shape. What moves (flakes, rain, fog) depends on the seed and the frame's number alone, so that parts
of a clip fit together. Sizes follow the picture: a `unit` is a 64th of its shorter side.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Effect = Callable[[Tensor, int, int], Tensor]
CANVAS = 192  # marks are soft: they can be drawn at this shorter side and enlarged; positions count in shorter sides


# -- weather ---------------------------------------------------------------------------------------------------------


def snowy(frames: Tensor, seed: int, first: int) -> Tensor:
    """Snow on the ground and on upper edges, cold light, and falling flakes."""
    light = luminance(frames)
    smooth = blur(light, 1.0)
    lying = 0.95 * _rise(down(frames), 0.4, 0.75) * (0.6 + 0.4 * light)
    step = max(1, round(1.5 * unit(frames)))
    above = F.pad(smooth, (0, 0, step, 0), mode="constant", value=0)[..., : smooth.shape[-2], :]
    above[..., :step, :] = smooth[..., :1, :]
    edge = blur(((smooth - above).abs() * 5 - 0.45).clamp(0, 1), 0.5)
    white = torch.maximum(lying, 0.9 * edge)
    cold = mix(frames, light, 0.4) * 0.88 + colour(frames, 0.09, 0.11, 0.14)
    snow = (0.76 + 0.24 * light) * colour(frames, 0.96, 0.98, 1.0)
    covered = mix(cold, snow, white)
    return mix(covered, colour(frames, 1, 1, 1), 0.95 * flakes(frames, seed, first)).clamp(0, 1)


def rainy(frames: Tensor, seed: int, first: int) -> Tensor:
    """Grey light, a wet shine below, and slanting rain."""
    light = luminance(frames)
    grey = mix(frames, light, 0.55) * colour(frames, 0.60, 0.66, 0.74) + 0.03
    grey = mix(grey, colour(frames, 0.55, 0.60, 0.67), 0.28 * (1 - down(frames)))
    return mix(grey, colour(frames, 0.86, 0.91, 0.97), 0.62 * streaks(frames, seed, first)).clamp(0, 1)


def foggy(frames: Tensor, seed: int, first: int) -> Tensor:
    """Pale fog, thicker far away (above), drifting slowly."""
    thick = 0.34 + 0.36 * (1 - down(frames)) + 0.1 * drift(frames, seed, first)
    soft = blur(frames, 0.6)
    fog = colour(frames, 0.80, 0.82, 0.84)
    return mix(mix(soft, luminance(soft), 0.4), fog, thick.clamp(0, 0.85)).clamp(0, 1)


# -- light -----------------------------------------------------------------------------------------------------------


def night(frames: Tensor, seed: int, first: int) -> Tensor:
    """Dark and blue, with darker corners."""
    dim = mix(frames, luminance(frames), 0.5).clamp(0, 1).pow(1.25)
    dim = dim * colour(frames, 0.32, 0.42, 0.68) + colour(frames, 0.015, 0.02, 0.06)
    return (dim * (1 - 0.45 * corners(frames))).clamp(0, 1)


def sunset(frames: Tensor, seed: int, first: int) -> Tensor:
    """Low orange light: violet above, glowing towards the horizon, dim below."""
    y = down(frames)
    sky = mix(colour(frames, 0.48, 0.25, 0.48), colour(frames, 1.0, 0.58, 0.22), _rise(y, 0.0, 0.5))
    light = luminance(frames)
    warm = mix(frames, light, 0.3) * colour(frames, 0.98, 0.62, 0.40)
    lit = mix(warm, sky * (0.55 + 0.55 * light), _rise(light, 0.45, 0.85) * (0.85 - 0.35 * y))
    glow = torch.exp(-((y - 0.45) ** 2) / 0.03) * 0.18
    return mix(lit, colour(frames, 1.0, 0.60, 0.25), glow).clamp(0, 1)


def warm(frames: Tensor, seed: int, first: int) -> Tensor:
    """Shifts the colours towards orange."""
    return (saturate(frames, 1.1) * colour(frames, 1.12, 0.95, 0.66) + colour(frames, 0.06, 0.02, 0.0)).clamp(0, 1)


def cool(frames: Tensor, seed: int, first: int) -> Tensor:
    """Shifts the colours towards blue."""
    return (saturate(frames, 0.9) * colour(frames, 0.66, 0.92, 1.12) + colour(frames, 0.0, 0.02, 0.07)).clamp(0, 1)


def bright(frames: Tensor, seed: int, first: int) -> Tensor:
    """More light."""
    return (frames.clamp(0, 1).pow(0.6) * 1.08 + 0.04).clamp(0, 1)


def dark(frames: Tensor, seed: int, first: int) -> Tensor:
    """Less light."""
    return frames.clamp(0, 1).pow(1.3) * 0.5


def vivid(frames: Tensor, seed: int, first: int) -> Tensor:
    """Strong colours and contrast."""
    return (saturate(frames, 2.0) * 1.15 - 0.06).clamp(0, 1)


# -- styles ----------------------------------------------------------------------------------------------------------


def sepia(frames: Tensor, seed: int, first: int) -> Tensor:
    """Brown tones of an old print."""
    return (luminance(frames) * colour(frames, 1.07, 0.87, 0.62) + colour(frames, 0.05, 0.03, 0.01)).clamp(0, 1)


def black_and_white(frames: Tensor, seed: int, first: int) -> Tensor:
    """Grey tones, with a little more contrast."""
    return ((luminance(frames) - 0.5) * 1.15 + 0.5).clamp(0, 1).expand_as(frames).clone()


def sketch(frames: Tensor, seed: int, first: int) -> Tensor:
    """Pencil on white paper: dark outlines, a little shading."""
    light = luminance(frames)
    lines = edges(light, 0.6)
    shade = 0.80 + 0.20 * _rise(blur(light, 0.8), 0.05, 0.55)
    drawn = shade * (1 - 0.85 * (lines * 5.5 - 0.28).clamp(0, 1))
    return (drawn * colour(frames, 1.0, 0.995, 0.98)).clamp(0, 1)


def pixel_art(frames: Tensor, seed: int, first: int) -> Tensor:
    """Square blocks of few colours, sixteen along the shorter side."""
    flat, shape = _flat(frames)
    height, width = flat.shape[-2:]
    block = min(height, width) / 16
    small = F.interpolate(flat, size=(round(height / block), round(width / block)), mode="area")
    levels = (saturate(small, 1.25).clamp(0, 1) * 6).round() / 6
    return F.interpolate(levels, size=(height, width), mode="nearest-exact").view(shape)


def watercolor(frames: Tensor, seed: int, first: int) -> Tensor:
    """Pale washes of colour with soft borders, on paper that stays white at the margin."""
    wash = saturate(patches(frames, 2), 1.35).clamp(0, 1).pow(0.72)
    rim = (edges(luminance(wash), 0.8) * 3 - 0.12).clamp(0, 1)
    paint = mix(wash, wash * 0.62, rim)
    blots = 0.5 + 0.5 * drift(frames, seed, 0, still=True)
    paper = 0.14 + 0.16 * blots + 0.75 * _rise(corners(frames) + 0.18 * blots, 0.60, 1.05)
    return mix(paint, colour(frames, 0.99, 0.98, 0.95), paper.clamp(0, 1)).clamp(0, 1)


def cartoon(frames: Tensor, seed: int, first: int) -> Tensor:
    """Flat, strong colours in few steps inside dark outlines."""
    smooth = blur(patches(frames, 1), 0.4)
    light = luminance(smooth)
    steps = 0.1 + 0.85 * mix(light, (light * 4).round() / 4, 0.7)
    flat = saturate(smooth, 1.7) - light + steps
    lines = (edges(light, 0.5) * 5 - 0.55).clamp(0, 1)
    return (flat.clamp(0, 1) * (1 - 0.92 * lines)).clamp(0, 1)


def neon(frames: Tensor, seed: int, first: int) -> Tensor:
    """Glowing outlines, magenta to cyan, on a dark ground."""
    lines = (edges(luminance(frames), 0.6) * 5 - 0.2).clamp(0, 1)
    across = torch.linspace(0, 1, frames.shape[-1], device=frames.device).expand(frames.shape[-2], -1)
    tint = mix(colour(frames, 1.0, 0.15, 0.85), colour(frames, 0.1, 0.95, 1.0), 0.5 * (across + down(frames)))
    ground = mix(frames, luminance(frames), 0.4) * colour(frames, 0.22, 0.12, 0.34) + colour(frames, 0.02, 0.0, 0.06)
    return (ground + tint * (lines + 0.55 * blur(lines, 1.6))).clamp(0, 1)


def vintage(frames: Tensor, seed: int, first: int) -> Tensor:
    """A faded film print: lifted blacks, yellowed lights, weak colours, dark corners."""
    faded = saturate(frames, 0.75) * colour(frames, 0.78, 0.70, 0.42) + colour(frames, 0.12, 0.17, 0.22)
    return (faded * (1 - 0.6 * corners(frames))).clamp(0, 1)


def negative(frames: Tensor, seed: int, first: int) -> Tensor:
    """Each colour's opposite."""
    return 1 - frames.clamp(0, 1)


# -- what effects are made of ----------------------------------------------------------------------------------------


def unit(frames: Tensor) -> float:
    """A 64th of the shorter side, in pixels."""
    return min(frames.shape[-2:]) / 64


def colour(frames: Tensor, red: float, green: float, blue: float) -> Tensor:
    """A colour (3, 1, 1) beside the frames."""
    return torch.tensor([red, green, blue], dtype=frames.dtype, device=frames.device).view(3, 1, 1)


def mix(one: Tensor, other: Tensor, share: Tensor | float) -> Tensor:
    """`one` where the share is 0, `other` where it is 1."""
    return one + (other - one) * share


def luminance(frames: Tensor) -> Tensor:
    """How bright each pixel looks (..., 1, height, width)."""
    return (frames * colour(frames, 0.299, 0.587, 0.114)).sum(-3, keepdim=True)


def saturate(frames: Tensor, strength: float) -> Tensor:
    """Colours moved away from grey (above 1) or towards it."""
    light = luminance(frames)
    return light + (frames - light) * strength


def down(frames: Tensor) -> Tensor:
    """How far down each row is: 0 at the top, 1 at the bottom (1, height, 1)."""
    return torch.linspace(0, 1, frames.shape[-2], dtype=frames.dtype, device=frames.device).view(1, -1, 1)


def corners(frames: Tensor) -> Tensor:
    """0 in the middle, about 1 in the corners (1, height, width)."""
    y = torch.linspace(-1, 1, frames.shape[-2], dtype=frames.dtype, device=frames.device).view(1, -1, 1)
    x = torch.linspace(-1, 1, frames.shape[-1], dtype=frames.dtype, device=frames.device).view(1, 1, -1)
    return _rise((x.square() + y.square()).sqrt(), 0.45, 1.4)


def blur(frames: Tensor, units: float) -> Tensor:
    """A Gaussian blur whose deviation is given in units."""
    deviation = units * unit(frames)
    reach = max(1, math.ceil(2.5 * deviation))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=frames.device) / deviation) ** 2)
    weights = (weights / weights.sum()).to(frames.dtype)
    flat, shape = _flat(frames)
    flat = flat.reshape(-1, 1, *shape[-2:])
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="replicate"), weights.view(1, 1, 1, -1))
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="replicate"), weights.view(1, 1, -1, 1))
    return flat.view(shape)


def edges(light: Tensor, units: float) -> Tensor:
    """How fast brightness changes across two units; about 0.5 at a full step."""
    smooth = blur(light, units)
    reach = max(1, round(unit(light)))
    flat, shape = _flat(smooth)
    padded = F.pad(flat, (reach,) * 4, mode="replicate")
    middle = slice(reach, -reach)
    across = padded[..., middle, 2 * reach :] - padded[..., middle, : -2 * reach]
    along = padded[..., 2 * reach :, middle] - padded[..., : -2 * reach, middle]
    return ((across.square() + along.square()).sqrt() / 2).view(shape)


def patches(frames: Tensor, units: float) -> Tensor:
    """Kuwahara's filter: each pixel becomes the mean of its calmest quarter, which leaves flat patches."""
    reach = max(1, round(units * unit(frames)))
    flat, shape = _flat(frames)
    padded = F.pad(flat, (reach,) * 4, mode="replicate")
    mean = _box(padded, reach + 1)
    spread = (_box(padded.square(), reach + 1) - mean.square()).sum(1, keepdim=True)
    height, width = flat.shape[-2:]
    corner = [(y, x) for y in (0, reach) for x in (0, reach)]
    means = torch.stack([mean[..., y : y + height, x : x + width] for y, x in corner])
    spreads = torch.stack([spread[..., y : y + height, x : x + width] for y, x in corner])
    calmest = spreads.argmin(0, keepdim=True).expand(1, *flat.shape)
    return means.gather(0, calmest)[0].view(shape)


def flakes(frames: Tensor, seed: int, first: int) -> Tensor:
    """How much of each pixel a falling flake covers (frames, 1, height, width): about 40 of 3-4 units on a square."""

    def cover(y: Tensor, x: Tensor, size: tuple[float, float], number: int) -> Tensor:
        chance = _chance(seed, round(40 * size[0] * size[1]), 5)
        far = chance[:, 2]
        centre_y = _wrap(chance[:, 0] * (size[0] + 0.2) + number * (0.035 + 0.03 * far), size[0])
        sway = 0.025 * torch.sin(6.283 * chance[:, 3] + 0.7 * number)
        centre_x = _wrap(chance[:, 1] * (size[1] + 0.2) + sway + number * 0.012 * (chance[:, 4] - 0.3), size[1])
        radius = (1.3 + 0.7 * far) / 64
        distance = ((y - _each(centre_y)).square() + (x - _each(centre_x)).square()).sqrt()
        return (((_each(radius) - distance) * 64 + 0.5).clamp(0, 1) * (0.8 + 0.2 * _each(far))).amax(0)

    return _marks(frames, first, cover)


def streaks(frames: Tensor, seed: int, first: int) -> Tensor:
    """How much of each pixel a rain streak covers (frames, 1, height, width): about 45 on a square, 9 by 1.3 units."""

    def cover(y: Tensor, x: Tensor, size: tuple[float, float], number: int) -> Tensor:
        chance = _chance(seed, round(45 * size[0] * size[1]), 3)
        fall = number * (0.17 + 0.08 * chance[:, 2])
        centre_y = _wrap(chance[:, 0] * (size[0] + 0.2) + fall, size[0])
        centre_x = _wrap(chance[:, 1] * (size[1] + 0.2) - 0.25 * fall, size[1])
        dy, dx = y - _each(centre_y), x - _each(centre_x)
        along, across = 0.970 * dy - 0.243 * dx, 0.243 * dy + 0.970 * dx
        length = _each((3.5 + 2.0 * chance[:, 2]) / 64)
        line = (1.15 - across.abs() * 64).clamp(0, 1) * ((length - along.abs()) * 32).clamp(0, 1)
        return line.amax(0)

    return _marks(frames, first, cover)


def drift(frames: Tensor, seed: int, first: int, still: bool = False) -> Tensor:
    """Slow large clouds between -1 and 1 (frames, 1, height, width), which move sideways unless `still`."""

    def cloud(y: Tensor, x: Tensor, size: tuple[float, float], number: int) -> Tensor:
        chance = _chance(seed, 5, 4)
        turn = 6.283 * _each(chance[:, 0]) + number * 0.25 * _each(chance[:, 1])
        wave = torch.sin(turn + x * _each(3 + 7 * chance[:, 2]) + y * _each(14 * chance[:, 3] - 7))
        return wave.mean(0) * 1.6

    clouds = _marks(frames, first, cloud, frozen=still)
    return clouds.clamp(-1, 1)


def _marks(
    frames: Tensor,
    first: int,
    cover: Callable[[Tensor, Tensor, tuple[float, float], int], Tensor],
    frozen: bool = False,
) -> Tensor:
    height, width = frames.shape[-2:]
    scale = min(1.0, CANVAS / min(height, width))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    tall, wide = rows / min(rows, columns), columns / min(rows, columns)
    y = ((torch.arange(rows, device="cpu") + 0.5) / rows * tall).view(1, -1, 1)  # drawn there, alike for all devices
    x = ((torch.arange(columns, device="cpu") + 0.5) / columns * wide).view(1, 1, -1)
    numbers = [first] if frozen else range(first, first + frames.shape[-4])
    drawn = torch.stack([cover(y, x, (tall, wide), n) for n in numbers]).unsqueeze(1)
    if (rows, columns) != (height, width):
        drawn = F.interpolate(drawn, size=(height, width), mode="bilinear", align_corners=False)
    return drawn.to(frames)


def _chance(seed: int, rows: int, columns: int) -> Tensor:
    generator = torch.Generator("cpu").manual_seed(seed & 0x7FFFFFFFFFFFFFFF)
    return torch.rand(rows, columns, generator=generator, device="cpu")


def _wrap(position: Tensor, length: float) -> Tensor:
    """Positions between a tenth before 0 and a tenth after `length`, so that marks leave before they come back."""
    return position % (length + 0.2) - 0.1


def _each(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1)


def _rise(value: Tensor, low: float, high: float) -> Tensor:
    share = ((value - low) / (high - low)).clamp(0, 1)
    return share * share * (3 - 2 * share)


def _box(flat: Tensor, size: int) -> Tensor:
    return F.avg_pool2d(F.avg_pool2d(flat, (1, size), stride=1), (size, 1), stride=1)


def _flat(frames: Tensor) -> tuple[Tensor, torch.Size]:
    return frames.reshape(-1, *frames.shape[-3:]), frames.shape
