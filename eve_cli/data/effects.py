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
    """Cold light under a pale sky, snow on the ground and on upper edges, and falling flakes in three layers.

    Where snow lies depends on the picture alone, and its border follows the picture's fine detail.
    """
    light = luminance(frames)
    snow_cover = lying_snow(frames, light)
    cold = mix(frames, light, 0.5) * colour(frames, 0.80, 0.84, 0.90) + colour(frames, 0.07, 0.08, 0.10)
    cold = mix(cold, colour(frames, 0.84, 0.87, 0.90), 0.85 * sky(frames))
    shade = (light / (blur(light, 4) + 0.08) - 1).clamp(-0.6, 0.5)
    snow = (0.86 + 0.25 * shade + 0.08 * light) * colour(frames, 0.965, 0.985, 1.0)
    covered = mix(cold, snow, 0.96 * snow_cover)
    return mix(covered, colour(frames, 1, 1, 1), flakes(frames, seed, first)).clamp(0, 1)


def lying_snow(frames: Tensor, light: Tensor) -> Tensor:
    """Where snow lies, 0 to 1 (..., 1, height, width): on the ground, on upper edges, less on skin."""
    grain = light - blur(light, 2.5)
    smooth = blur(light, 0.7)
    step = max(1, round(1.3 * unit(frames)))
    ledge = (smooth - shifted(smooth, step, 0)).abs() - 0.6 * (smooth - shifted(smooth, 0, step)).abs()
    score = (
        1.1 * ground(frames)
        + 0.35 * rise(down(frames), 0.3, 1.0) * light
        + 2.5 * (ledge - 0.06).clamp(-0.05, 0.2)
        + 1.5 * grain
        - 1.2 * skin(frames)
        - 0.8 * sky(frames)
    )
    return rise(score, 0.20, 0.70)


def rainy(frames: Tensor, seed: int, first: int) -> Tensor:
    """Dull grey light under a heavy sky, wet ground that darkens and mirrors, and slanting rain in three layers."""
    light = luminance(frames)
    wet = 0.75 * ground(frames)
    dull = mix(frames, light, 0.45) * colour(frames, 0.58, 0.64, 0.71) + 0.03
    dull = mix(dull, colour(frames, 0.50, 0.54, 0.60), 0.75 * sky(frames) + 0.15 * (1 - down(frames)))
    soaked = dull * 0.62 + colour(frames, 0.30, 0.34, 0.39) * rise(smeared(light, 5.0), 0.25, 0.85)
    return mix(mix(dull, soaked, wet), colour(frames, 0.86, 0.90, 0.95), streaks(frames, seed, first)).clamp(0, 1)


def foggy(frames: Tensor, seed: int, first: int) -> Tensor:
    """Pale fog that drifts slowly and thickens with distance: towards the top and the sky, little at the bottom."""
    near = rise(down(frames), 0.20, 1.10)
    veil = luminance(blur(frames, 3.0))
    distance = (1 - near) * (0.65 + 0.35 * rise(veil, 0.15, 0.75)) + 0.30 * near
    thick = 1 - torch.exp(-(0.20 + 1.30 * distance * (1 + 0.25 * drift(frames, seed, first))))
    thick = torch.maximum(thick, 0.92 * sky(frames))
    soft = mix(frames, blur(frames, 0.7), 0.7 * (1 - near))
    fog = colour(frames, 0.79, 0.81, 0.83)
    return mix(mix(soft, luminance(soft), 0.45) * 0.90, fog, thick.clamp(0, 0.95)).clamp(0, 1)


# -- light -----------------------------------------------------------------------------------------------------------


def night(frames: Tensor, seed: int, first: int) -> Tensor:
    """Moonlight: dark and blue, with a darker sky and corners; strong lights stay lit and warm."""
    light = luminance(frames)
    dim = mix(frames, light, 0.5).clamp(0, 1).pow(1.25)
    dim = dim * colour(frames, 0.34, 0.44, 0.70) + colour(frames, 0.015, 0.02, 0.06)
    heaven = mix(colour(frames, 0.03, 0.05, 0.14), colour(frames, 0.12, 0.17, 0.34), rise(down(frames), 0.0, 0.7))
    dim = mix(dim, heaven + 0.10 * light, 0.8 * sky(frames))
    lamp = rise(light - blur(light, 3.0), 0.16, 0.40) * rise(light, 0.70, 0.95) * (1 - sky(frames))
    lit = (dim + (0.75 * lamp + 0.9 * blur(lamp, 2.0)) * colour(frames, 1.0, 0.80, 0.45)).clamp(0, 1)
    return (lit * (1 - 0.45 * corners(frames))).clamp(0, 1)


def sunset(frames: Tensor, seed: int, first: int) -> Tensor:
    """Low orange light: a sky from violet to gold, a glow towards the horizon, dim and warm below."""
    y = down(frames)
    dusk = mix(colour(frames, 0.46, 0.26, 0.50), colour(frames, 1.0, 0.56, 0.22), rise(y, 0.0, 0.5))
    light = luminance(frames)
    warmed = mix(frames, light, 0.3) * colour(frames, 0.98, 0.62, 0.40)
    pale = torch.maximum(0.9 * sky(frames), rise(light, 0.45, 0.85) * (0.75 - 0.40 * y))
    lit = mix(warmed, dusk * (0.55 + 0.55 * light), pale)
    glow = torch.exp(-((y - 0.45) ** 2) / 0.03) * 0.18
    return mix(lit, colour(frames, 1.0, 0.60, 0.25), glow).clamp(0, 1)


def autumn(frames: Tensor, seed: int, first: int) -> Tensor:
    """Leaves and grass turn yellow, orange and red, in mild light."""
    red, green, blue = frames.split(1, -3)
    light = luminance(frames)
    leafy = rise(blur(green - torch.maximum(0.92 * red, 1.05 * blue), 0.4) / (light + 0.08), 0.0, 0.16)
    hue = rise(blur(light, 1.2) - blur(light, 5.0), -0.10, 0.10)
    leaf = mix(colour(frames, 1.30, 0.42, 0.16), colour(frames, 1.55, 0.98, 0.22), hue)
    mild = saturate(frames, 0.95) * colour(frames, 1.06, 0.96, 0.80) + colour(frames, 0.02, 0.01, 0.0)
    return mix(mild, leaf * (light * 0.95 + 0.02), 0.92 * leafy).clamp(0, 1)


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
    """Pencil on white paper: lines where the picture is darker than around, fine and broad, and hatched shadows.

    The lines divide the picture's brightness by its blur (a dodge), so that they are as fine as the picture is.
    """
    light = luminance(frames)
    drawn = torch.ones_like(light)
    for units, strength in ((0.5, 1.3), (1.5, 0.85), (4.0, 0.4)):
        drawn = drawn * (1 - strength * (1 - dodge(light, units) - 0.015).clamp(0, 1)).clamp(0.08, 1)
    tone = blur(light, 1.0)
    shade = 0.82 + 0.18 * rise(tone, 0.05, 0.5)
    hatched = 1 - 0.22 * (1 - rise(tone, 0.08, 0.40)) * hatching(frames)
    return (drawn * shade * hatched * colour(frames, 1.0, 0.995, 0.98)).clamp(0, 1)


def pixel_art(frames: Tensor, seed: int, first: int) -> Tensor:
    """Square blocks of few strong colours, 32 along the shorter side."""
    flat, shape = _flat(frames)
    height, width = flat.shape[-2:]
    block = min(height, width) / 32
    small = F.interpolate(flat, size=(round(height / block), round(width / block)), mode="area")
    small = small + 0.5 * (small - blur(small, 2.0))
    levels = (saturate(small, 1.35).clamp(0, 1) * 5).round() / 5
    return F.interpolate(levels, size=(height, width), mode="nearest-exact").view(shape)


def watercolor(frames: Tensor, seed: int, first: int) -> Tensor:
    """Pale washes of colour with dark rims over a light drawing, on paper that stays white at the margin."""
    light = luminance(frames)
    wash = saturate(patches(frames, 1.4), 1.55).clamp(0, 1).pow(0.62)
    rim = (edges(luminance(wash), 0.6) * 2.5 - 0.10).clamp(0, 1)
    paint = mix(wash, wash * 0.68, rim)
    lines = (1 - dodge(light, 1.0) - 0.06).clamp(0, 0.6)
    blots = 0.5 + 0.5 * drift(frames, seed, 0, still=True)
    paper = 0.14 + 0.26 * blots + 0.85 * rise(margin(frames) - 0.06 * blots, 0.02, -0.09)
    paper = (paper + 0.25 * rise(light, 0.55, 0.95)).clamp(0, 1)
    painted = mix(paint, colour(frames, 0.99, 0.98, 0.95), paper)
    return (painted * (1 - 0.9 * lines * (1 - 0.6 * paper))).clamp(0, 1)


def cartoon(frames: Tensor, seed: int, first: int) -> Tensor:
    """Flat, strong colours in few steps inside dark, fine outlines."""
    smooth = blur(patches(frames, 0.7), 0.3)
    light = luminance(smooth)
    steps = 0.12 + 0.88 * mix(light, soft_steps(light, 4), 0.85)
    flat = saturate(smooth, 1.75) - light + steps
    fine = rise(1 - dodge(luminance(frames), 0.8), 0.10, 0.30)
    broad = rise(edges(light, 0.5), 0.14, 0.30)
    return (flat.clamp(0, 1) * (1 - 0.9 * torch.maximum(fine, 0.85 * broad))).clamp(0, 1)


def neon(frames: Tensor, seed: int, first: int) -> Tensor:
    """Glowing outlines, magenta to cyan, on a dark ground."""
    light = luminance(frames)
    fine = (dodge(blur(light, 0.4), 1.4) - 1).abs() * rise(light, 0.03, 0.20)
    lines = torch.maximum(rise(fine, 0.08, 0.36), rise(edges(light, 0.5), 0.07, 0.24))
    across = torch.linspace(0, 1, frames.shape[-1], device=frames.device).expand(frames.shape[-2], -1)
    tint = mix(colour(frames, 1.0, 0.15, 0.85), colour(frames, 0.1, 0.95, 1.0), 0.5 * (across + down(frames)))
    base = mix(frames, light, 0.4) * colour(frames, 0.28, 0.15, 0.42) + colour(frames, 0.02, 0.0, 0.06)
    return (base + tint * (0.85 * lines + 0.6 * blur(lines, 1.6))).clamp(0, 1)


def vintage(frames: Tensor, seed: int, first: int) -> Tensor:
    """A faded film print: lifted blacks, yellowed lights, weak colours, soft, with dark corners."""
    soft = mix(frames, blur(frames, 0.5), 0.5)
    faded = saturate(soft, 0.70) * colour(frames, 0.82, 0.70, 0.44) + colour(frames, 0.13, 0.15, 0.17)
    return (faded * (1 - 0.6 * corners(frames))).clamp(0, 1)


def oil_painting(frames: Tensor, seed: int, first: int) -> Tensor:
    """Thick strokes of strong colour with a raised, shining texture."""
    broad, fine = patches(frames, 2.2), luminance(patches(frames, 0.8))
    strokes = saturate(broad, 1.45) + 0.5 * (fine - luminance(broad))
    step = max(1, round(0.6 * unit(frames)))
    relief = luminance(strokes) - shifted(luminance(strokes), step, step)
    return ((strokes + 1.1 * relief - 0.5) * 1.12 + 0.5).clamp(0, 1)


def vaporwave(frames: Tensor, seed: int, first: int) -> Tensor:
    """Violet shadows, pink middle tones and cyan lights."""
    light = ((luminance(frames) - 0.5) * 1.15 + 0.5).clamp(0, 1)
    low = mix(colour(frames, 0.14, 0.04, 0.36), colour(frames, 0.98, 0.36, 0.75), rise(light, 0.05, 0.60))
    toned = mix(low, colour(frames, 0.62, 0.98, 1.0), rise(light, 0.50, 0.95))
    return mix(toned, saturate(frames, 1.3), 0.22).clamp(0, 1)


def overcast(frames: Tensor, seed: int, first: int) -> Tensor:
    """Flat grey light under a closed sky: weak colours, weak shadows, no sun."""
    light = luminance(frames)
    flat = mix(frames, light, 0.45) * 0.62 + 0.13
    clouds = 0.62 + 0.10 * drift(frames, seed, 0, still=True)
    grey = mix(flat * colour(frames, 0.95, 1.0, 1.06), clouds * colour(frames, 0.97, 1.0, 1.04), 0.9 * sky(frames))
    return mix(grey, colour(frames, 0.55, 0.58, 0.62), 0.22 * (1 - down(frames))).clamp(0, 1)


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
    return rise((x.square() + y.square()).sqrt(), 0.45, 1.4)


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


def shifted(light: Tensor, down_by: int, right_by: int) -> Tensor:
    """The picture moved down and to the right by whole pixels; its border is repeated."""
    flat, shape = _flat(light)
    height, width = flat.shape[-2:]
    padded = F.pad(flat, (right_by, 0, down_by, 0), mode="replicate")
    return padded[..., :height, :width].reshape(shape)


def smeared(light: Tensor, units: float) -> Tensor:
    """A picture averaged over the `2 * units` above and below each pixel, as wet ground mirrors it."""
    reach = max(1, round(units * unit(light)))
    flat, shape = _flat(light)
    return F.avg_pool2d(F.pad(flat, (0, 0, reach, reach), mode="replicate"), (2 * reach + 1, 1), stride=1).view(shape)


def dodge(light: Tensor, units: float) -> Tensor:
    """Brightness divided by its blur: below 1 where a pixel is darker than what is around it."""
    return (light + 0.06) / (blur(light, units) + 0.06)


def soft_steps(light: Tensor, count: int) -> Tensor:
    """Brightness in `count` steps with short slopes between, which do not flicker as hard ones do."""
    scaled = light * count
    return (scaled.floor() + rise(scaled - scaled.floor(), 0.3, 0.7)) / count


def hatching(frames: Tensor) -> Tensor:
    """Slanting lines, 0 to 1 (1, height, width), four units apart."""
    height, width = frames.shape[-2:]
    y = torch.arange(height, dtype=frames.dtype, device=frames.device).view(1, -1, 1)
    x = torch.arange(width, dtype=frames.dtype, device=frames.device).view(1, 1, -1)
    return 0.5 + 0.5 * torch.cos(2 * math.pi / (4 * unit(frames)) * (x + y))


def margin(frames: Tensor) -> Tensor:
    """How far each pixel is inside a sheet's margin, in shorter sides; below 0 outside (1, height, width)."""
    height, width = frames.shape[-2:]
    y = (torch.arange(height, dtype=frames.dtype, device=frames.device) + 0.5).view(1, -1, 1)
    x = (torch.arange(width, dtype=frames.dtype, device=frames.device) + 0.5).view(1, 1, -1)
    inside = torch.minimum(torch.minimum(y, height - y), torch.minimum(x, width - x))
    return inside / min(height, width) - 0.06


def sky(frames: Tensor) -> Tensor:
    """Where sky or another bright, smooth surface above may be, 0 to 1 (..., 1, height, width).

    Smooth places are found coarsely and then grow over all bright pixels near by, so that no halo stays around things.
    """
    light = luminance(frames)
    blue = (frames[..., 2:, :, :] - frames[..., :1, :, :]).clamp(-0.1, 0.4)
    bright = rise(light + 0.9 * blue, 0.52, 0.72)
    above = 1 - rise(down(frames), 0.35, 0.70)
    smooth = 1 - rise(blur(edges(light, 0.5), 0.8), 0.03, 0.09)
    seeds, shape = _flat(blur(bright * smooth, 0.7))
    reach = max(1, round(3.5 * unit(frames)))
    near = F.max_pool2d(seeds, (2 * reach + 1, 1), 1, (reach, 0))
    near = F.max_pool2d(near, (1, 2 * reach + 1), 1, (0, reach)).view(shape)
    return bright * above * rise(near, 0.25, 0.65)


def ground(frames: Tensor) -> Tensor:
    """Where ground may be, 0 to 1 (..., 1, height, width): below, and coloured as the picture is at its sides there."""
    broad = blur(frames, 1.2)
    wide = blur(broad, 3)
    reach = max(1, round(3 * unit(frames)))
    sides = wide[..., :reach].mean(-1, keepdim=True), wide[..., -reach:].mean(-1, keepdim=True)
    far = torch.minimum(*((broad - side).square().sum(-3, keepdim=True) for side in sides))
    return rise(down(frames), 0.38, 0.78) * torch.exp(-far / 0.08) * (1 - 0.7 * skin(frames))


def skin(frames: Tensor) -> Tensor:
    """Where colours are those of skin, 0 to 1 (..., 1, height, width)."""
    red, green, blue = blur(frames, 1.0).split(1, -3)
    redness = (red - green) / (red + green + blue + 0.05)
    yellow = (green - blue) / (red + green + blue + 0.05)
    reddish = rise(redness, 0.05, 0.09) * (1 - rise(redness, 0.16, 0.22))
    return reddish * rise(yellow, -0.01, 0.02) * (1 - rise(yellow, 0.09, 0.13)) * rise(red, 0.25, 0.40)


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


FLAKES = ((150, 0.35, 0.55, 0.022, 0.70), (60, 0.60, 0.95, 0.036, 0.90), (10, 1.3, 2.1, 0.060, 0.50))
"""Layers of flakes, far to near: how many on a square, least and greatest radius in units, fall a frame, opacity."""
STREAKS = ((90, 2.5, 0.30, 0.10, 0.26), (45, 4.5, 0.42, 0.16, 0.40), (10, 7.5, 0.70, 0.24, 0.36))
"""Layers of streaks, far to near: how many on a square, half length and half width in units, fall a frame, opacity."""


def flakes(frames: Tensor, seed: int, first: int) -> Tensor:
    """How much of each pixel falling flakes cover (frames, 1, height, width), in layers by distance."""

    def cover(y: Tensor, x: Tensor, size: tuple[float, float], number: int) -> Tensor:
        clear = torch.ones(y.shape[-2], x.shape[-1], device="cpu")
        for layer, (count, least, most, speed, opacity) in enumerate(FLAKES):
            chance = _chance(seed + layer, round(count * size[0] * size[1]), 5)
            near = chance[:, 2]
            fall = number * speed * (0.85 + 0.3 * near)
            centre_y = _wrap(chance[:, 0] * (size[0] + 0.2) + fall, size[0])
            sway = 0.3 * speed * torch.sin(6.283 * chance[:, 3] + 0.5 * number)
            centre_x = _wrap(chance[:, 1] * (size[1] + 0.2) + sway + 0.25 * fall * (chance[:, 4] - 0.3), size[1])
            radius = _each((least + (most - least) * near) / 64)
            along = torch.exp(-(((y - _each(centre_y)) / (1.25 * radius)) ** 2)).flatten(1)
            across = torch.exp(-(((x - _each(centre_x)) / radius) ** 2)).flatten(1)
            clear = clear * (1 - opacity * (1 - torch.exp(-2.5 * along.T @ across)))
        return 1 - clear

    return _marks(frames, first, cover)


def streaks(frames: Tensor, seed: int, first: int) -> Tensor:
    """How much of each pixel rain covers (frames, 1, height, width), in layers by distance."""

    def cover(y: Tensor, x: Tensor, size: tuple[float, float], number: int) -> Tensor:
        clear = torch.ones(y.shape[-2], x.shape[-1], device="cpu")
        for layer, (count, half, thick, speed, opacity) in enumerate(STREAKS):
            chance = _chance(seed + layer, round(count * size[0] * size[1]), 3)
            fall = number * speed * (0.85 + 0.3 * chance[:, 2])
            centre_y = _wrap(chance[:, 0] * (size[0] + 0.2) + fall, size[0])
            centre_x = _wrap(chance[:, 1] * (size[1] + 0.2) - 0.2 * fall, size[1])
            dy, dx = y - _each(centre_y), x - _each(centre_x)
            along, across = 0.98 * dy - 0.198 * dx, 0.198 * dy + 0.98 * dx
            length, width = half * (0.7 + 0.6 * _each(chance[:, 2])) / 64, thick / 64
            line = torch.exp(-((across / width) ** 2)) * ((length - along.abs()) / length * 2).clamp(0, 1)
            clear = clear * (1 - opacity * line.amax(0))
        return 1 - clear

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


def rise(value: Tensor, low: float, high: float) -> Tensor:
    """0 below `low`, 1 above `high`, smooth between (smoothstep); falls where `high` is the lower one."""
    share = ((value - low) / (high - low)).clamp(0, 1)
    return share * share * (3 - 2 * share)


def _box(flat: Tensor, size: int) -> Tensor:
    return F.avg_pool2d(F.avg_pool2d(flat, (1, size), stride=1), (size, 1), stride=1)


def _flat(frames: Tensor) -> tuple[Tensor, torch.Size]:
    return frames.reshape(-1, *frames.shape[-3:]), frames.shape
