"""What a picture of the world holds: frozen values, sampled from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

KINDS = ("car", "boat", "ball", "balloon", "bird", "house", "tree")
COLOURS = {
    "red": (0.87, 0.13, 0.13),
    "orange": (0.97, 0.53, 0.08),
    "yellow": (0.98, 0.87, 0.15),
    "green": (0.13, 0.62, 0.22),
    "blue": (0.13, 0.35, 0.88),
    "purple": (0.56, 0.18, 0.74),
}
TEXTURES = ("plain", "striped", "spotted", "checkered")
PLACES = ("meadow", "beach", "desert", "city", "mountains", "forest")
TIMES = ("day", "sunset", "night")
WEATHERS = ("clear", "snowy", "rainy", "foggy")
MOTIONS = ("still", "left", "right", "bounce", "fly", "grow")
CAMERAS = ("still", "pan left", "pan right", "zoom in", "zoom out")

FLYING = frozenset({"balloon", "bird"})
FIXED = frozenset({"house", "tree"})
SLOTS = {"left": -0.55, "middle": 0.0, "right": 0.55}

# Combinations that no training ever sees; evaluation reports them apart.
HELD_OUT_THINGS = frozenset(
    {
        ("car", "purple"),
        ("boat", "green"),
        ("ball", "blue"),
        ("balloon", "yellow"),
        ("house", "orange"),
        ("tree", "red"),
    }
)
HELD_OUT_PLACES = frozenset({("beach", "foggy"), ("desert", "rainy"), ("city", "snowy")})


@dataclass(frozen=True)
class Thing:
    """One thing; positions in units where the picture's height is 2 and its middle is (0, 0), y pointing down."""

    kind: str
    colour: str
    texture: str = "plain"
    slot: str = "middle"
    x: float = 0.0
    y: float = 0.35
    size: float = 0.36  # half of the thing's width
    motion: str = "still"
    speed: float = 0.05  # units a frame, or cycles a frame for bounce and grow
    phase: float = 0.0
    depth: float = 0.4  # 0 at the camera, 1 at the horizon


@dataclass(frozen=True)
class Scene:
    """A place at a time in a weather with one to three things, seen by a camera; ``seed`` fixes every chance detail."""

    place: str
    time: str
    weather: str
    things: tuple[Thing, ...]
    camera: str = "still"
    seed: int = 0

    def without(self, index: int) -> Scene:
        """The scene with one thing gone."""
        return replace(self, things=self.things[:index] + self.things[index + 1 :])

    def with_thing(self, index: int, **changes: object) -> Scene:
        """The scene with one thing changed."""
        things = list(self.things)
        things[index] = replace(things[index], **changes)
        return replace(self, things=tuple(things))


def is_held_out(scene: Scene) -> bool:
    """Whether the scene holds a combination that training never sees."""
    return (scene.place, scene.weather) in HELD_OUT_PLACES or any(
        (t.kind, t.colour) in HELD_OUT_THINGS for t in scene.things
    )


def sample_motion(rng: random.Random, kind: str) -> tuple[str, float]:
    """A motion that suits the kind, and its speed."""
    if kind in FIXED:
        choices = ("still", "still", "grow")
    elif kind in FLYING:
        choices = ("still", "fly", "fly", "left", "right")
    elif kind == "ball":
        choices = ("still", "bounce", "bounce", "left", "right")
    else:
        choices = ("still", "left", "right")
    motion = rng.choice(choices)
    speed = {"bounce": rng.uniform(0.05, 0.09), "grow": rng.uniform(0.02, 0.04)}.get(motion, rng.uniform(0.025, 0.06))
    return motion, speed


def sample_thing(rng: random.Random, slot: str, crowded: bool = False) -> Thing:
    """A random thing standing (or flying) in a slot of the picture."""
    while True:
        kind, colour = rng.choice(KINDS), rng.choice(tuple(COLOURS))
        if (kind, colour) not in HELD_OUT_THINGS:
            return place_thing(rng, kind, colour, slot, crowded)


def place_thing(rng: random.Random, kind: str, colour: str, slot: str, crowded: bool = False) -> Thing:
    """A thing of a known kind and colour, with chance position, size, texture and motion."""
    motion, speed = sample_motion(rng, kind)
    size = rng.uniform(0.32, 0.38) if crowded else rng.uniform(0.36, 0.46)
    return Thing(
        kind=kind,
        colour=colour,
        texture=rng.choice(("plain", "plain", *TEXTURES[1:])),
        slot=slot,
        x=SLOTS[slot] + rng.uniform(-0.06, 0.06),
        y=standing_height(rng, kind, size),
        size=size,
        motion=motion,
        speed=speed,
        phase=rng.random(),
        depth=rng.uniform(0.3, 0.6),
    )


def standing_height(rng: random.Random, kind: str, size: float) -> float:
    """The y of a thing's middle: in the sky if it flies, else with its foot on the ground."""
    return rng.uniform(-0.5, -0.25) if kind in FLYING else rng.uniform(0.62, 0.78) - size


def sample_scene(seed: int, held_out: bool | None = False) -> Scene:
    """A random scene; ``held_out``: no combination held out of training (False), at least one (True), any (None)."""
    rng = random.Random(f"scene {seed}")
    while True:
        count = rng.choices((1, 2, 3), (0.55, 0.38, 0.07))[0]
        slots = rng.sample(tuple(SLOTS), 3)
        if count == 2 and rng.random() < 0.7:  # two things mostly stand apart
            slots = [*rng.sample(("left", "right"), 2), "middle"]
        things = tuple(sample_thing(rng, slots[i], crowded=count == 3) for i in range(count))
        if held_out is not False:
            kind, colour = rng.choice(sorted(HELD_OUT_THINGS))
            if rng.random() < 0.5:
                things = (place_thing(rng, kind, colour, slots[0], count == 3), *things[1:])
        if len({t.kind for t in things}) < len(things):  # "the car" must name one thing
            continue
        scene = Scene(
            place=rng.choice(PLACES),
            time=rng.choices(TIMES, (0.5, 0.25, 0.25))[0],
            weather=rng.choices(WEATHERS, (0.52, 0.16, 0.16, 0.16))[0],
            things=things,
            camera=rng.choices(CAMERAS, (0.4, 0.2, 0.2, 0.1, 0.1))[0],
            seed=rng.randrange(2**31),
        )
        if held_out is None or is_held_out(scene) == held_out:
            return scene
