"""What no model of the world has seen, to train a LoRA with: a toy robot, a beach ball, a way to print in two inks.

None is in the language of the world, so it takes a token of its own to ask for one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, minimum

from eve_cli.data.effects import blur, colour, edges, luminance, mix
from eve_cli.data.world import language as say
from eve_cli.data.world.export import pictures
from eve_cli.data.world.places import AMBIENCE, blend, cover, rgb
from eve_cli.data.world.render import render
from eve_cli.data.world.scene import KINDS, PLACES, SLOTS, Scene, Thing, place_thing, sample_scene, sample_thing
from eve_cli.data.world.shapes import box, circle
from eve_cli.errors import OutputError
from eve_cli.media.compose import save_png

Drawn = tuple[Tensor, list[str]]
Parts = Callable[[Tensor, Tensor], list[tuple[Tensor, Tensor]]]
Kinds = tuple[str, ...]
OUTLINE = 0.06
TEAL, PINK, YELLOW = (0.08, 0.72, 0.70), (0.93, 0.24, 0.58), (0.99, 0.86, 0.14)
WHITE, DARK = (0.97, 0.96, 0.95), (0.17, 0.16, 0.20)
INK, PAPER = (0.16, 0.05, 0.36), (1.0, 0.82, 0.55)


def robot(token: str, count: int = 12, side: int = 128, seed: int = 0) -> Drawn:
    """Pictures (count, 3, side, side) in [0, 1] of the robot, alone and beside things of the world, with captions."""
    return _standing(_robot, (0.44, 0.56), token, count, side, seed)


def ball(token: str, count: int = 12, side: int = 128, seed: int = 0) -> Drawn:
    """Pictures (count, 3, side, side) in [0, 1] of a ball in a pattern of its own, with captions."""
    return _standing(_ball, (0.36, 0.46), token, count, side, seed, others=tuple(k for k in KINDS if k != "ball"))


def _standing(
    parts: Parts, sizes: tuple[float, float], token: str, count: int, side: int, seed: int, others: Kinds = KINDS
) -> Drawn:
    """Scenes of the world with a new thing in them, half its height drawn from `sizes`."""
    rng = random.Random(f"subject {seed}")
    scenes, captions, at = [], [], []
    for number in range(count):
        slot, other = rng.sample(tuple(SLOTS), 2)
        turn, place = divmod(number, len(PLACES))
        things = (_one_of(rng, other, others),) if (number + turn) % 2 else ()
        place, time = PLACES[place], rng.choice(("day", "day", "day", "sunset", "night"))
        scenes.append(Scene(place, time, "clear", things, seed=rng.randrange(2**31)))
        names = [token, *(say.a(say.noun(thing)) for thing in things)]
        rng.shuffle(names)
        words = (" and ".join(names), rng.choice(say.PLACE_PHRASES[place]), rng.choice(say.TIME_PHRASES[time]))
        captions.append(" ".join(filter(None, words)))
        standing = place_thing(rng, "ball", "red", slot)
        at.append((standing.x, rng.uniform(0.72, 0.82), rng.uniform(*sizes)))
    frames = render(scenes, [0], side).frames[:, 0]
    drawn = [_put(parts, frame, scene.time, *where) for frame, scene, where in zip(frames, scenes, at, strict=True)]
    return torch.stack(drawn), captions


def _one_of(rng: random.Random, slot: str, kinds: Kinds) -> Thing:
    """A chance thing of one of these kinds."""
    while (thing := sample_thing(rng, slot)).kind not in kinds:
        pass
    return thing


def style(token: str, count: int = 12, side: int = 128, seed: int = 0) -> Drawn:
    """Pictures (count, 3, side, side) in [0, 1] of the world in two inks, with captions."""
    rng = random.Random(f"style {seed}")
    scenes = [sample_scene(rng.randrange(2**40)) for _ in range(count)]
    captions = [f"{say.caption(scene, rng)}, {token}" for scene in scenes]
    return two_inks(render(scenes, [0], side).frames[:, 0]), captions


SETS: dict[str, Callable[[str, int, int, int], Drawn]] = {"subject": robot, "ball": ball, "style": style}


def write(folder: Path, kind: str, token: str, count: int = 12, side: int = 128, seed: int = 0) -> Path:
    """Writes NAME.png and NAME.txt of each picture; OutputError if the folder holds something or cannot be written."""
    frames, captions = SETS[kind](token, count, side, seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise OutputError(f"{folder} is not empty; choose another --out.")
        for number, (picture, caption) in enumerate(zip(pictures(frames), captions, strict=True)):
            save_png(picture, folder / f"{number:02d}.png")
            (folder / f"{number:02d}.txt").write_text(caption + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"The pictures cannot be written to {folder}: {error.strerror or error}.") from error
    return folder


def two_inks(frames: Tensor) -> Tensor:
    """Frames (..., 3, height, width) in [0, 1] as thick outlines and three steps of one ink on yellow paper."""
    light = luminance(blur(frames, 0.8))
    steps = (4 * light).floor().clamp(0, 3) / 3
    lines = (14 * edges(luminance(frames), 0.6) - 0.5).clamp(0, 1)
    return mix(mix(colour(frames, *INK), colour(frames, *PAPER), 0.2 + 0.8 * steps), colour(frames, *INK), lines)


def _put(parts: Parts, frame: Tensor, time: str, cx: float, foot: float, size: float) -> Tensor:
    """The frame (3, side, side) with a thing standing in it; `size` is half its height, where the picture's is 2."""
    side = frame.shape[-1]
    pixel = 2 / side
    line = (torch.arange(side) + 0.5) * pixel - 1
    x = ((line - cx) / size).view(1, 1, side).expand(1, side, side)
    y = ((line - foot) / size + 1).view(1, side, 1).expand(1, side, side)
    light = 0.4 + 0.6 * rgb(*AMBIENCE[time])
    for distance, paint in parts(x, y):
        rim = cover(distance, pixel / size)
        frame = blend(frame[None], 0.42 * paint * light, rim)[0]
        frame = blend(frame[None], paint * light, cover(distance + OUTLINE, pixel / size))[0]
    return frame.clamp(0, 1)


def _ball(x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Signed distances (1, height, width) and paints of a ball in three bands, teal, yellow and pink."""
    ball = circle(x, y, 0, 0, 1.0)
    band = torch.maximum(ball, y.abs() - 0.25)
    lower = torch.maximum(ball, -y)
    return [(ball, rgb(*TEAL)), (lower, rgb(*PINK)), (band, rgb(*YELLOW))]


def _robot(x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Signed distances (1, height, width) and paints, in the order in which they are laid over each other."""
    checks = (torch.sin(7 * x) * torch.sin(7 * (y - 0.2)) > 0).float().unsqueeze(1)
    body = torch.lerp(rgb(*WHITE), rgb(*PINK), checks)
    return [
        (box(x, y, 0, -0.86, 0.06, 0.14), rgb(*DARK)),
        (circle(x, y, 0, -0.92, 0.14), rgb(*YELLOW)),
        (minimum(box(x, y, -0.3, 0.84, 0.19, 0.16, 0.05), box(x, y, 0.3, 0.84, 0.19, 0.16, 0.05)), rgb(*DARK)),
        (minimum(box(x, y, -0.72, 0.2, 0.14, 0.36, 0.1), box(x, y, 0.72, 0.2, 0.14, 0.36, 0.1)), rgb(*TEAL)),
        (box(x, y, 0, 0.24, 0.58, 0.5, 0.08), body),
        (_star(x, y - 0.24, 0.36), rgb(*YELLOW)),
        (box(x, y, 0, -0.5, 0.5, 0.28, 0.1), rgb(*TEAL)),
        (minimum(circle(x, y, -0.22, -0.52, 0.17), circle(x, y, 0.22, -0.52, 0.17)), rgb(*WHITE)),
        (minimum(circle(x, y, -0.22, -0.52, 0.1), circle(x, y, 0.22, -0.52, 0.1)), rgb(*DARK)),
    ]


def _star(x: Tensor, y: Tensor, radius: float) -> Tensor:
    """A star with five points, one up; close to a signed distance."""
    turn = torch.atan2(x, -y) * 5 / (2 * math.pi)
    share = 2 * (turn - turn.round()).abs()  # 0 at a point, 1 between two
    return (x.square() + y.square()).sqrt() - radius * (1 - 0.55 * share)
