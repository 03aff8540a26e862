"""Clips of the world that differ in one thing only, with captions that differ in it too: a test of encoders."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from eve_cli.data.looks import LOOKS, world_styles
from eve_cli.data.world.language import caption
from eve_cli.data.world.render import render
from eve_cli.data.world.scene import (
    COLOURS,
    FIXED,
    FLYING,
    KINDS,
    PLACES,
    TEXTURES,
    TIMES,
    WEATHERS,
    Scene,
    sample_scene,
    standing_height,
)

FRAMES = 8
SPEEDS = {"bounce": 0.07, "grow": 0.03}


@dataclass(frozen=True)
class Variant:
    """A scene under a look, or under none, with its caption."""

    scene: Scene
    look: str | None
    caption: str


Made = list[tuple[Scene, str | None]]


def _thing(scene: Scene, index: int, rng: random.Random) -> Made:
    return [(scene, None), (scene.without(index), None)]


def _kind(scene: Scene, index: int, rng: random.Random) -> Made:
    thing, others = scene.things[index], {t.kind for t in scene.things} - {scene.things[index].kind}
    candidates = []
    for kind in (k for k in KINDS if (k in FLYING) == (thing.kind in FLYING) and k not in others):
        fits = thing.motion if kind in FIXED & {thing.kind} or not FIXED & {kind, thing.kind} else "still"
        height = thing.y if kind in FLYING else standing_height(random.Random(thing.phase), kind, thing.size)
        candidates.append((scene.with_thing(index, kind=kind, y=height, motion=fits), None))
    return candidates


def _motion(scene: Scene, index: int, rng: random.Random) -> Made:
    thing = scene.things[index]
    names = ["still", "grow"] if thing.kind in FIXED else ["still", "left", "right"]
    names += {"ball": ["bounce"], "bird": ["fly"], "balloon": ["fly"]}.get(thing.kind, [])
    return [(scene.with_thing(index, motion=n, speed=SPEEDS.get(n, max(thing.speed, 0.03))), None) for n in names]


def _of_thing(name: str, values: Sequence[str]) -> Callable[[Scene, int, random.Random], Made]:
    return lambda scene, index, rng: [(scene.with_thing(index, **{name: value}), None) for value in values]


def _of_scene(name: str, values: Sequence[str]) -> Callable[[Scene, int, random.Random], Made]:
    return lambda scene, index, rng: [(replace(scene, **{name: value}), None) for value in values]


def _look(scene: Scene, index: int, rng: random.Random) -> Made:
    return [(scene, None), *((scene, name) for name in world_styles())]


ATTRIBUTES: dict[str, Callable[[Scene, int, random.Random], Made]] = {
    "thing": _thing,
    "kind": _kind,
    "colour": _of_thing("colour", list(COLOURS)),
    "texture": _of_thing("texture", TEXTURES),
    "place": _of_scene("place", PLACES),
    "time": _of_scene("time", TIMES),
    "weather": _of_scene("weather", WEATHERS),
    "motion": _motion,
    "look": _look,
}
"""What can differ: the scene, which thing of it, and chance give every value that the attribute can take."""

TASK_ATTRIBUTES = {
    "add": ("thing",),
    "remove": ("thing",),
    "background": ("place",),
    "texture": ("texture",),
    "local": ("colour", "kind"),
    "style": ("look",),
    "global": ("time", "weather"),
}
"""What an edit of a task may change: encoders that judge it must distinguish all of it."""


def variants(seed: int, attribute: str, numbers: Sequence[int] = range(FRAMES)) -> list[Variant]:
    """A random scene with every value of an attribute; all captions differ, and but for its words they are alike.

    ``numbers`` are the frames that the captions speak of. Values of which nothing can be said (a thing that turns
    round moves neither left nor right) share a caption, and only the first of them is kept.
    """
    rng = random.Random(f"variants {seed} {attribute}")
    while True:
        scene = sample_scene(rng.randrange(2**40), held_out=None)
        candidates = ATTRIBUTES[attribute](scene, rng.randrange(len(scene.things)), rng)
        by_caption: dict[str, Variant] = {}
        words = rng.random()
        for changed, look in candidates:
            texts = random.Random(words)
            text = caption(changed, texts, motion=True, frames=numbers)
            if look:
                text = f"{text}, {texts.choice(LOOKS[look].captions)}"
            by_caption.setdefault(text, Variant(changed, look, text))
        if len(by_caption) > 1:
            return list(by_caption.values())


def draw(rows: Sequence[Variant], numbers: Sequence[int] = range(FRAMES), side: int = 64) -> Tensor:
    """The clips (n, frames, 3, side, side) in [0, 1]."""
    clips = render([row.scene for row in rows], list(numbers), side).frames
    for clip, row in zip(clips, rows, strict=True):
        if row.look:
            clip.copy_(LOOKS[row.look].function(clip, row.scene.seed, numbers[0]))
    return clips


def retrieval(
    score: Callable[[Tensor, list[str]], Tensor], attribute: str, count: int = 100, seed: int = 2**41
) -> tuple[float, float]:
    """How often the right caption is found among those that differ in an attribute alone; and how often by chance.

    ``score(frames, texts)`` gives a value for each text; ``frames`` (n, 3, side, side) are uint8.
    """
    right, chance = 0, 0.0
    for number in range(count):
        rows = variants(seed + number, attribute)
        truth = random.Random(f"which {seed + number}").randrange(len(rows))
        clip = (draw(rows[truth : truth + 1])[0] * 255).round().to(torch.uint8)
        right += int(score(clip, [row.caption for row in rows]).argmax()) == truth
        chance += 1 / len(rows)
    return right / count, chance / count
