"""Draws scenes: batched over scenes and frames, antialiased, in torch; with the truth that a renderer knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eve_cli.data.world.motion import TAU, camera_at, things_at
from eve_cli.data.world.places import AMBIENCE, HORIZON, PAINTERS, blend, cover, flakes, rgb, sky, streaks
from eve_cli.data.world.scene import CAMERAS, COLOURS, KINDS, MOTIONS, PLACES, TEXTURES, TIMES, WEATHERS, Scene
from eve_cli.data.world.shapes import SHAPES

MOST_THINGS = 3
PARALLAX = (0.06, 0.4, 1.0)  # sky, far, ground and things
PIXELS_AT_ONCE = 3_000_000
PAINTS = {
    "dark": (0.16, 0.15, 0.18),
    "light": (0.96, 0.96, 0.93),
    "wood": (0.48, 0.31, 0.17),
    "glass": (0.74, 0.90, 0.98),
    "beak": (0.99, 0.62, 0.08),
}


@dataclass(frozen=True)
class Rendering:
    """Frames of scenes with what is known about them.

    ``frames`` (scenes, frames, 3, height, width) in [0, 1]; ``masks`` (scenes, 3, frames, height, width), the visible
    share of each thing; ``depth`` (scenes, frames, height, width), 0 at the camera and 1 at the sky; ``flow`` (scenes,
    frames - 1, 2, height, width) in pixels from a frame to the next, and ``visible`` (scenes, frames - 1, height,
    width), whether the point is still seen there.
    """

    frames: Tensor
    masks: Tensor
    depth: Tensor
    flow: Tensor | None = None
    visible: Tensor | None = None


@dataclass
class _Rows:
    """Scenes as tensors, one row a frame of a scene."""

    frame: Tensor
    seed: Tensor
    place: Tensor
    time: Tensor
    weather: Tensor
    chance: Tensor
    pan: Tensor
    zoom: Tensor
    kind: Tensor  # (n, 3): -1 where there is no thing; things ordered from far to near
    order: Tensor
    colour: Tensor
    texture: Tensor
    x: Tensor
    y: Tensor
    size: Tensor
    flip: Tensor
    depth: Tensor


def _rows(scenes: Sequence[Scene], numbers: Sequence[int]) -> _Rows:
    """Positions of everything at the given frame numbers; row = scene * len(numbers) + frame."""
    f = len(numbers)
    frame = torch.tensor(list(numbers), dtype=torch.float32).repeat(len(scenes))
    once = lambda values, kind=torch.long: torch.tensor(list(values), dtype=kind).repeat_interleave(f)  # noqa: E731
    camera = once(CAMERAS.index(s.camera) for s in scenes)
    pan, zoom = camera_at(camera, frame)
    ordered = [sorted(range(len(s.things)), key=lambda i, s=s: -s.things[i].depth) for s in scenes]

    def column(value, empty: float = 0.0) -> Tensor:
        table = [
            [float(value(s.things[o[i]])) if i < len(o) else empty for i in range(MOST_THINGS)]
            for s, o in zip(scenes, ordered, strict=True)
        ]
        return torch.tensor(table).repeat_interleave(f, dim=0)

    kind = column(lambda t: KINDS.index(t.kind), -1).long()
    motion = column(lambda t: MOTIONS.index(t.motion)).long()
    x, y, size = column(lambda t: t.x), column(lambda t: t.y), column(lambda t: t.size, 0.4)
    speed, phase = column(lambda t: t.speed), column(lambda t: t.phase)
    track = things_at(motion, x, y, size, speed, phase, frame.unsqueeze(1))
    return _Rows(
        frame=frame,
        seed=once(s.seed for s in scenes),
        place=once(PLACES.index(s.place) for s in scenes),
        time=once(TIMES.index(s.time) for s in scenes),
        weather=once(WEATHERS.index(s.weather) for s in scenes),
        chance=once(((s.seed * 2654435761) % 65536 / 65536 for s in scenes), torch.float32),
        pan=pan,
        zoom=zoom,
        kind=kind,
        order=torch.tensor([[*o, *[-1] * (MOST_THINGS - len(o))] for o in ordered]).repeat_interleave(f, dim=0),
        colour=column(lambda t: list(COLOURS).index(t.colour)).long(),
        texture=column(lambda t: TEXTURES.index(t.texture)).long(),
        x=track.x,
        y=track.y,
        size=track.size,
        flip=track.facing,
        depth=column(lambda t: t.depth),
    )


def _grid(size: tuple[int, int]) -> tuple[Tensor, Tensor, float]:
    """Pixel centres as u (1, 1, width) and v (1, height, 1), and the size of a pixel; the height spans -1 to 1."""
    width, height = size
    pixel = 2 / height
    v = (torch.arange(height) + 0.5) * pixel - 1
    u = (torch.arange(width) + 0.5) * pixel - width / height
    return u.view(1, 1, width), v.view(1, height, 1), pixel


def _layer(u: Tensor, v: Tensor, rows: _Rows, pick: Tensor | slice, parallax: float) -> tuple[Tensor, Tensor]:
    """Screen coordinates taken into a background layer's own, each (n, height, width)."""
    zoom = (1 + (rows.zoom[pick] - 1) * parallax).view(-1, 1, 1)
    shift = (rows.pan[pick] * parallax).view(-1, 1, 1)
    shape = (len(zoom), v.shape[1], u.shape[2])
    return (u / zoom + shift).expand(shape), (v / zoom).expand(shape)


def _texture(x: Tensor, y: Tensor, texture: Tensor, pixel: Tensor) -> Tensor:
    """Share (n, h, w) of the second colour: two to three periods over the thing."""
    wave = torch.sin(TAU * 1.25 * (0.8 * x + 0.6 * y))
    stripe = (0.5 + wave / (8 * pixel)).clamp(0, 1)
    check = (0.5 + torch.sin(TAU * x) * torch.sin(TAU * y) / (6 * pixel)).clamp(0, 1)
    sx, sy = (x / 0.58 + 0.5).remainder(1) - 0.5, (y / 0.58 + 0.5).remainder(1) - 0.5
    spot = (0.5 - ((sx * sx + sy * sy).sqrt() - 0.32) * 0.58 / pixel).clamp(0, 1)
    k = texture.view(-1, 1, 1)
    return torch.where(k == 1, stripe, torch.where(k == 2, spot, torch.where(k == 3, check, torch.zeros_like(x))))


def _thing(
    name: str, x: Tensor, y: Tensor, pixel: Tensor, rows: _Rows, pick: Tensor, slot: int
) -> tuple[Tensor, Tensor]:
    """The paint (n, 3, h, w) and the coverage (n, h, w) of things of one kind."""
    palette = torch.tensor(list(COLOURS.values()))
    colour = palette[rows.colour[pick, slot]].view(-1, 3, 1, 1)
    bright = (colour * torch.tensor([0.3, 0.6, 0.1]).view(3, 1, 1)).sum(1, keepdim=True) > 0.5
    second = torch.where(bright, colour * 0.3, colour * 0.12 + 0.86)
    share = _texture(x, y, rows.texture[pick, slot], pixel).unsqueeze(1)
    body = torch.lerp(colour.expand(-1, 3, *x.shape[1:]), second.expand(-1, 3, *x.shape[1:]), share)
    paint, whole = rgb(*PAINTS["dark"]).expand_as(body), None
    night = (rows.time[pick] == TIMES.index("night")).view(-1, 1, 1, 1)
    for distance, role in SHAPES[name](x, y):
        alpha = (0.5 - distance / pixel).clamp(0, 1).unsqueeze(1)
        if role == "body":
            over = body
        elif role == "shade":
            over = colour * 0.62
        elif role == "glass":
            over = torch.where(night, rgb(1.5, 1.25, 0.7), rgb(*PAINTS["glass"]))
        else:
            over = rgb(*PAINTS[role])
        inner = (0.5 - (distance + 0.08) / pixel).clamp(0, 1).unsqueeze(1)
        line = over * 0.42
        paint = torch.lerp(paint, torch.lerp(line.expand_as(paint), over.expand_as(paint), inner), alpha)
        whole = distance if whole is None else torch.minimum(whole, distance)
    assert whole is not None
    return paint, (0.5 - whole / pixel).clamp(0, 1)


def _paint_things(image: Tensor, rows: _Rows, size: tuple[int, int], ambience: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Lay the things over the background, far ones first; gives the picture and each layer's coverage."""
    u, v, pixel = _grid(size)
    layers = []
    snowy = rows.weather == WEATHERS.index("snowy")
    for slot in range(MOST_THINGS):
        alpha = torch.zeros(image.shape[0], *image.shape[2:])
        for number, name in enumerate(KINDS):
            pick = torch.nonzero(rows.kind[:, slot] == number).squeeze(1)
            if not len(pick):
                continue
            scale = (rows.size[pick, slot] * rows.zoom[pick]).view(-1, 1, 1)
            cx = ((rows.x[pick, slot] - rows.pan[pick]) * rows.zoom[pick]).view(-1, 1, 1)
            cy = (rows.y[pick, slot] * rows.zoom[pick]).view(-1, 1, 1)
            shape = (len(pick), v.shape[1], u.shape[2])
            x = ((u - cx) / scale * rows.flip[pick, slot].view(-1, 1, 1)).expand(shape)
            y = ((v - cy) / scale).expand(shape)
            paint, cov = _thing(name, x, y, pixel / scale, rows, pick, slot)
            white = snowy[pick]
            if white.any():  # snow lies on what faces the sky
                above = torch.stack([d for d, _ in SHAPES[name](x[white], y[white] - 0.2)]).amin(0)
                lying = (0.5 + above / (pixel / scale[white])).clamp(0, 1)
                paint[white] = blend(paint[white], rgb(0.97, 0.98, 1.0), lying)
            image[pick] = blend(
                image[pick], paint * (0.4 + 0.6 * ambience[pick]), cov
            )  # a little brighter, to be distinguishable at night
            alpha[pick] = cov
        layers.append(alpha)
    return image, layers


def _background(rows: _Rows, size: tuple[int, int], ambience: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sky, far layer and ground: the picture (n, 3, h, w), the depth and the layer number (0, 1, 2) of every pixel."""
    u, v, pixel = _grid(size)
    n = len(rows.frame)
    image = torch.empty(n, 3, v.shape[1], u.shape[2])
    seed, chance = rows.seed.view(-1, 1, 1), rows.chance.view(-1, 1, 1)
    for number, time in enumerate(TIMES):
        pick = torch.nonzero(rows.time == number).squeeze(1)
        if len(pick):
            image[pick] = sky(time, *_layer(u, v, rows, pick, PARALLAX[0]), pixel, chance[pick], seed[pick])
    overcast = torch.isin(rows.weather, torch.tensor([1, 2, 3])).float().view(-1, 1, 1)
    grey = torch.where((rows.weather == 2).view(-1, 1, 1, 1), rgb(0.50, 0.54, 0.60), rgb(0.80, 0.83, 0.87)) * ambience
    image = blend(image, grey, (0.75 * overcast).expand(n, *image.shape[2:]))

    gu, gv = _layer(u, v, rows, slice(None), PARALLAX[2])
    below = cover(HORIZON - gv, pixel)
    distance = ((gv - HORIZON) / (1 - HORIZON)).clamp(0, 1)
    depth = torch.where(below > 0.5, 0.75 - 0.6 * distance, torch.ones_like(gv))
    layer = torch.where(below > 0.5, 2, 0)
    snowy = (rows.weather == WEATHERS.index("snowy")).view(-1, 1, 1)
    for number, place in enumerate(PLACES):
        pick = torch.nonzero(rows.place == number).squeeze(1)
        if not len(pick):
            continue
        fu, fv = _layer(u, v, rows, pick, PARALLAX[1])
        far, far_paint, ground = PAINTERS[place](fu, fv, gu[pick], gv[pick], pixel, chance[pick], seed[pick])
        lit = (far_paint.amin(1, keepdim=True) < far_paint.amax(1, keepdim=True) - 0.3) & (place == "city")
        far_light = torch.where(lit, torch.ones_like(ambience[pick]), ambience[pick])
        white = snowy[pick].float()
        far_paint = blend(
            far_paint.expand(len(pick), 3, *fv.shape[1:]), rgb(0.90, 0.92, 0.97), (0.45 * white).expand_as(fv)
        )
        ground = blend(ground.expand(len(pick), 3, *fv.shape[1:]), rgb(0.93, 0.95, 0.99), (0.9 * white).expand_as(fv))
        picture = blend(image[pick], far_paint * far_light, far)
        image[pick] = blend(picture, ground * ambience[pick], below[pick])
        visible = (far > 0.5) & (below[pick] <= 0.5)
        depth[pick] = torch.where(visible, 0.85, depth[pick])
        layer[pick] = torch.where(visible, 1, layer[pick])
    return image, depth, layer


def _weather(image: Tensor, depth: Tensor, rows: _Rows, size: tuple[int, int], ambience: Tensor) -> Tensor:
    """Fog by depth, falling snow and rain, all in front of the things."""
    u, v, pixel = _grid(size)
    count = 6 if size[1] <= 96 else 9
    seed, frame = rows.seed.view(-1, 1, 1), rows.frame.view(-1, 1, 1)
    for name in WEATHERS[1:]:
        pick = torch.nonzero(rows.weather == WEATHERS.index(name)).squeeze(1)
        if not len(pick):
            continue
        if name == "foggy":
            image[pick] = blend(image[pick], rgb(0.83, 0.85, 0.88) * ambience[pick], 0.08 + 0.68 * depth[pick])
            continue
        gu, gv = u.expand(len(pick), v.shape[1], -1), v.expand(len(pick), -1, u.shape[2])
        if name == "snowy":
            light = rgb(1, 1, 1) * (0.35 + 0.65 * ambience[pick])
            image[pick] = blend(image[pick], light, flakes(gu, gv, frame[pick], pixel, seed[pick], count))
        else:
            dim = image[pick] * rgb(0.72, 0.75, 0.80)
            light = rgb(0.80, 0.88, 0.98) * (0.4 + 0.6 * ambience[pick])
            image[pick] = blend(dim, light, 0.75 * streaks(gu, gv, frame[pick], pixel, seed[pick], count + 1))
    return image


def _flow(rows: _Rows, owner: Tensor, f: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Motion of every pixel's owner to the next frame, in pixels, and whether it is still seen there.

    A thing that turns round is mirrored in one step, and so is its flow: each point goes where it is drawn next.
    """
    u, v, pixel = _grid(size)
    n, height, width = owner.shape
    here = torch.arange(n).view(-1, f)[:, :-1].reshape(-1)
    there = here + 1
    flow = torch.zeros(len(here), 2, height, width)
    for number in range(3 + MOST_THINGS):
        if number < 3:
            k = PARALLAX[number]
            zoom, pan = 1 + (rows.zoom - 1) * k, rows.pan * k
            cx, cy, scale, turned = -pan * zoom, torch.zeros_like(zoom), zoom, torch.ones_like(zoom)
        else:
            slot = number - 3
            cx, cy = (rows.x[:, slot] - rows.pan) * rows.zoom, rows.y[:, slot] * rows.zoom
            scale, turned = rows.size[:, slot] * rows.zoom, rows.flip[:, slot]
        ratio = (scale[there] / scale[here]).view(-1, 1, 1)
        mirror = (turned[there] * turned[here]).view(-1, 1, 1)
        du = (u - cx[here].view(-1, 1, 1)) * ratio * mirror + cx[there].view(-1, 1, 1) - u
        dv = (v - cy[here].view(-1, 1, 1)) * ratio + cy[there].view(-1, 1, 1) - v
        mine = (owner[here] == number).unsqueeze(1)
        flow = torch.where(mine, torch.stack([du.expand(-1, height, -1), dv.expand(-1, -1, width)], 1) / pixel, flow)
    x = (torch.arange(width) + flow[:, 0]).round().long()
    y = (torch.arange(height).view(-1, 1) + flow[:, 1]).round().long()
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    flat = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).flatten(1)
    same = owner[there].flatten(1).gather(1, flat).view_as(owner[here]) == owner[here]
    return flow, inside & same


@torch.no_grad()
def render(
    scenes: Sequence[Scene],
    frames: int | Sequence[int] = 8,
    size: int | tuple[int, int] = 64,
    truth: bool = False,
    device: torch.device | str = "cpu",
) -> Rendering:
    """Draw scenes at frame numbers (or 0 ... frames-1) at a size (a side of a square, or width and height) in pixels.

    With ``truth`` the flow and the visibility come too. All lies on ``device``.
    """
    numbers = range(frames) if isinstance(frames, int) else list(frames)
    size = (size, size) if isinstance(size, int) else size
    per_scene = len(numbers) * size[0] * size[1]
    chunk = max(1, PIXELS_AT_ONCE // per_scene)
    with torch.device(device):  # every tensor created here is on it
        parts = [_render(scenes[i : i + chunk], numbers, size, truth) for i in range(0, len(scenes), chunk)]
    return parts[0] if len(parts) == 1 else _joined(parts)


def _joined(parts: Sequence[Rendering]) -> Rendering:
    flows = [p.flow for p in parts if p.flow is not None]
    visibles = [p.visible for p in parts if p.visible is not None]
    return Rendering(
        frames=torch.cat([p.frames for p in parts]),
        masks=torch.cat([p.masks for p in parts]),
        depth=torch.cat([p.depth for p in parts]),
        flow=torch.cat(flows) if flows else None,
        visible=torch.cat(visibles) if visibles else None,
    )


def _render(scenes: Sequence[Scene], numbers: Sequence[int], size: tuple[int, int], truth: bool) -> Rendering:
    rows = _rows(scenes, numbers)
    b, f = len(scenes), len(numbers)
    width, height = size
    ambience = torch.tensor([AMBIENCE[t] for t in TIMES])[rows.time].view(-1, 3, 1, 1)
    image, depth, owner = _background(rows, size, ambience)
    image, layers = _paint_things(image, rows, size, ambience)
    masks = torch.zeros(b * f, MOST_THINGS, height, width)
    uncovered = torch.ones_like(depth)
    for slot in reversed(range(MOST_THINGS)):  # near ones hide far ones
        index = rows.order[:, slot].clamp_min(0).view(-1, 1, 1, 1).expand(-1, 1, height, width)
        masks.scatter_add_(1, index, (layers[slot] * uncovered).unsqueeze(1))
        uncovered = uncovered * (1 - layers[slot])
    for slot in range(MOST_THINGS):
        mine = layers[slot] > 0.5
        depth = torch.where(mine, rows.depth[:, slot].view(-1, 1, 1), depth)
        owner = torch.where(mine, 3 + slot, owner)
    image = _weather(image, depth, rows, size, ambience).clamp_(0, 1)
    flow = visible = None
    if truth and f > 1:
        flow, visible = _flow(rows, owner, f, size)
        flow, visible = flow.view(b, f - 1, 2, height, width), visible.view(b, f - 1, height, width)
    return Rendering(
        frames=image.view(b, f, 3, height, width),
        masks=masks.view(b, f, MOST_THINGS, height, width).transpose(1, 2),
        depth=depth.view(b, f, height, width),
        flow=flow,
        visible=visible,
    )
