"""Edits of motion: a thing moves otherwise than it did, and its true edit is the same scene with that motion."""

from __future__ import annotations

import random
from collections.abc import Sequence

from eve_cli.data.world import language as say
from eve_cli.data.world.motion import CLIP, visible_motion
from eve_cli.data.world.scene import FIXED, FLYING, Scene

ACROSS = (
    "make {the} {go} WAY",
    "let {the} {go} WAY",
    "{the} should {go} WAY",
    "have {the} move WAY",
    "set {the} moving WAY",
    "show {the} moving WAY",
    "i want {the} to {go} WAY",
    "turn it so that {the} moves WAY",
)
ASKED = {
    "left": tuple(form.replace("WAY", "left") for form in ACROSS),
    "right": tuple(form.replace("WAY", "right") for form in ACROSS),
    "bounce": (
        "make {the} bounce",
        "let {the} bounce",
        "{the} should bounce",
        "have {the} bounce up and down",
        "set {the} bouncing",
        "show {the} bouncing",
        "i want {the} to bounce",
        "turn it so that {the} bounces",
    ),
    "fly": (
        "make {the} fly",
        "let {the} fly",
        "{the} should fly",
        "have {the} fly around",
        "set {the} flying",
        "show {the} flying",
        "i want {the} to fly",
        "turn it so that {the} flies",
    ),
    "grow": (
        "make {the} grow",
        "let {the} grow",
        "{the} should grow",
        "have {the} grow bigger",
        "set {the} growing",
        "show {the} growing",
        "i want {the} to grow",
        "turn it so that {the} grows",
    ),
}
VERBS = {"car": "drive", "boat": "sail", "ball": "roll", "balloon": "drift"}
SPEEDS = {
    "left": (0.035, 0.06),
    "right": (0.035, 0.06),
    "bounce": (0.05, 0.09),
    "fly": (0.03, 0.05),
    "grow": (0.03, 0.04),
}


def possible(kind: str) -> tuple[str, ...]:
    """The motions that a kind of thing can be asked for."""
    if kind in FIXED:
        return ("grow",)
    return ("left", "right", *(("bounce",) if kind == "ball" else ("fly",) if kind in FLYING else ()))


def moves(scene: Scene, index: int, frames: Sequence[int] | None = None) -> str:
    """How a thing is seen to move over all of the frame numbers, empty where nothing can be said."""
    return visible_motion(scene, CLIP if frames is None else frames).motions[index]


def sample_action(
    rng: random.Random, scene: Scene, index: int, frames: Sequence[int] | None = None
) -> tuple[str, Scene] | None:
    """An instruction and the scene that results; None where the motion would not be visible, or already was."""
    thing = scene.things[index]
    motion = rng.choice(possible(thing.kind))
    low, high = SPEEDS[motion]
    target = scene.with_thing(index, motion=motion, speed=rng.uniform(low, high))
    if moves(target, index, frames) != motion or moves(scene, index, frames) == motion:
        return None
    words = rng.choice(ASKED[motion]).format(the=say.the(thing, rng), go=VERBS.get(thing.kind, "move"))
    return words, target
