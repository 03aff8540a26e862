"""How the world is spoken of: captions and instructions, from small grammars."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from eve_cli.data.world.motion import CLIP, visible_motion
from eve_cli.data.world.scene import Scene, Thing

PLACE_PHRASES = {
    "meadow": ("in a meadow", "on a green meadow"),
    "beach": ("on a beach", "at the beach"),
    "desert": ("in a desert", "in the desert"),
    "city": ("in a city", "on a city street"),
    "mountains": ("in the mountains", "before the mountains"),
    "forest": ("in a forest", "at the forest"),
}
PLACE_NAMES = {
    "meadow": ("a meadow", "the meadow", "a green meadow"),
    "beach": ("a beach", "the beach", "a beach by the sea"),
    "desert": ("a desert", "the desert", "a desert with dunes"),
    "city": ("a city", "the city", "a city street"),
    "mountains": ("mountains", "the mountains", "a mountain landscape"),
    "forest": ("a forest", "the forest", "a forest of pines"),
}
TIME_PHRASES = {
    "day": ("", "", "by day", "during the day"),
    "sunset": ("at sunset", "at sunset", "in the evening", "at dusk"),
    "night": ("at night", "at night", "by night", "in the dark"),
}
WEATHER_PHRASES = {
    "clear": ("", "", "", "in clear weather"),
    "snowy": ("in the snow", "while it snows", "in snowy weather", "in winter"),
    "rainy": ("in the rain", "while it rains", "in rainy weather"),
    "foggy": ("in the fog", "in foggy weather", "in mist"),
}
WEATHER_ADJECTIVES = {"clear": "", "snowy": "snowy ", "rainy": "rainy ", "foggy": "foggy "}
SLOT_PHRASES = {"left": "on the left", "middle": "in the middle", "right": "on the right"}
TEXTURE_NOUNS = {"striped": "stripes", "spotted": "spots", "checkered": "checks", "plain": "one plain color"}
MOTION_PHRASES = {
    "still": "",
    "left": "moving left",
    "right": "moving right",
    "bounce": "bouncing",
    "fly": "flying",
    "grow": "growing",
}
CAMERA_PHRASES = {
    "still": "",
    "pan left": "the camera pans left",
    "pan right": "the camera pans right",
    "zoom in": "the camera zooms in",
    "zoom out": "the camera zooms out",
}

ADD = (
    "add {a}{where}",
    "put {a} in the scene{where}",
    "insert {a}{where}",
    "place {a}{where}",
    "draw {a}{where}",
    "let {a} appear{where}",
    "there should be {a}{where}",
    "include {a}{where}",
    "bring in {a}{where}",
    "i want to see {a}{where}",
)
REMOVE = (
    "remove {the}",
    "delete {the}",
    "erase {the}",
    "take away {the}",
    "get rid of {the}",
    "take {the} out",
    "make {the} disappear",
    "clear away {the}",
    "hide {the}",
    "the scene without {the}",
)
BACKGROUND = (
    "change the background to {place}",
    "replace the background with {place}",
    "make the background {place}",
    "move the scene to {place}",
    "set the scene in {place}",
    "put everything in {place}",
    "swap the place for {place}",
    "let it be in {place}",
    "turn the place into {place}",
    "transport it to {place}",
)
TEXTURE = (
    "make {the} {texture}",
    "give {the} {pattern}",
    "cover {the} with {pattern}",
    "paint {pattern} on {the}",
    "{the} should be {texture}",
    "let {the} be {texture}",
    "put a {texture} pattern on {the}",
    "change the texture of {the} to {texture}",
    "turn {the} into a {texture} one",
    "decorate {the} with {pattern}",
)
COLOUR = (
    "make {the} {colour}",
    "turn {the} {colour}",
    "paint {the} {colour}",
    "change the color of {the} to {colour}",
    "recolor {the} {colour}",
    "{the} should be {colour}",
    "let {the} be {colour}",
    "dye {the} {colour}",
    "color {the} {colour}",
    "change the colour of {the} to {colour}",
)
KIND = (
    "replace {the} with {a}",
    "turn {the} into {a}",
    "swap {the} for {a}",
    "change {the} to {a}",
    "change {the} into {a}",
    "exchange {the} for {a}",
    "let {the} become {a}",
    "make {the} {a}",
    "put {a} in place of {the}",
    "transform {the} into {a}",
)
TIMES_ASKED = {
    "night": (
        "make it night",
        "turn it into night",
        "change the time to night",
        "let night fall",
        "set the scene at night",
        "show it at night",
        "it should be night",
        "turn day into night",
        "as a night scene",
        "make it dark outside",
    ),
    "sunset": (
        "make it sunset",
        "turn it into a sunset",
        "change the time to sunset",
        "let the sun go down",
        "set the scene at sunset",
        "show it at sunset",
        "it should be sunset",
        "give it evening light",
        "as a sunset scene",
        "make it dusk",
    ),
    "day": (
        "make it day",
        "turn it into day",
        "change the time to day",
        "let the sun rise",
        "set the scene at daytime",
        "show it by day",
        "it should be day",
        "give it bright daylight",
        "as a daytime scene",
        "make it a sunny day",
    ),
}
WEATHERS_ASKED = {
    "snowy": (
        "make it snowy",
        "let it snow",
        "add snow",
        "make it snow",
        "cover everything in snow",
        "it should be snowing",
        "change the weather to snow",
        "turn it into winter",
        "make it winter",
        "as a snowy scene",
        "give it snowy weather",
    ),
    "rainy": (
        "make it rainy",
        "let it rain",
        "add rain",
        "make it rain",
        "it should be raining",
        "change the weather to rain",
        "turn the weather rainy",
        "as a rainy scene",
        "give it rainy weather",
        "start a rain shower",
    ),
    "foggy": (
        "make it foggy",
        "let fog roll in",
        "add fog",
        "fill the scene with fog",
        "it should be foggy",
        "change the weather to fog",
        "turn the weather foggy",
        "as a foggy scene",
        "give it foggy weather",
        "make it misty",
    ),
    "clear": (
        "make the weather clear",
        "clear the sky",
        "give it clear weather",
        "change the weather to clear",
        "it should be clear",
        "let the weather clear up",
        "as a scene in clear weather",
        "bring back the clear sky",
        "turn the weather clear",
    ),
}
SEGMENT = (
    "segment {the}",
    "show the mask of {the}",
    "cut out {the} as a mask",
    "mask {the}",
    "give the segmentation of {the}",
    "paint {the} white and all else black",
    "extract the silhouette of {the}",
    "show where {the} is as a mask",
)
SKETCH = (
    "extract the outlines",
    "show the edges",
    "trace the outlines",
    "give the edge map",
    "detect the edges",
    "show only the contours",
    "turn it into an edge map",
    "convert it to white outlines on black",
)
DEPTH = (
    "show the depth map",
    "extract the depth",
    "give the depth map",
    "estimate the depth",
    "convert it to a depth map",
    "show how far everything is",
    "turn it into a depth map",
    "map the distance",
)
MARK = (
    "mark {the} with a box",
    "detect {the}",
    "draw a box around {the}",
    "put a frame around {the}",
    "show where {the} is with a box",
    "highlight {the} with a box",
    "find {the} and box it",
    "locate {the} with a box",
)


def noun(thing: Thing, colour: bool = True, texture: bool = True) -> str:
    """The name of a thing without article: ``blue striped ball``."""
    words = [thing.colour if colour else "", thing.texture if texture and thing.texture != "plain" else "", thing.kind]
    return " ".join(w for w in words if w)


def a(words: str) -> str:
    """A noun with its indefinite article."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def the(thing: Thing, rng: random.Random) -> str:
    """A way to point at a thing."""
    return "the " + noun(thing, colour=rng.random() < 0.55, texture=False)


def joined(names: Sequence[str]) -> str:
    """Names in a row: ``a car, a boat and a ball``."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def tidied(text: str) -> str:
    """A text without the blanks and commas that left-out words leave."""
    return re.sub(r" +,", ",", re.sub(r" +", " ", text)).strip(" ,")


def caption(
    scene: Scene,
    rng: random.Random,
    motion: bool = False,
    frames: Sequence[int] | None = None,
    subject: int | None = None,
) -> str:
    """A sentence that describes a scene; with ``motion`` also what moves, and surely how the ``subject`` does.

    What it says of places and motions holds over all of the frame numbers ``frames``: a thing that turns round in them
    is not said to move left or right. Without them it speaks of the first frame, or with ``motion`` of ``CLIP``.
    """
    detailed = rng.random() < 0.3
    slots, moves, view = [t.slot for t in scene.things], [""] * len(scene.things), ""
    if motion or (detailed and frames is not None):
        shown = visible_motion(scene, CLIP if frames is None else frames)
        slots = shown.slots
        if motion:
            moves, view = shown.motions, shown.camera
    names = []
    for i, (t, slot, move) in enumerate(zip(scene.things, slots, moves, strict=True)):
        where = SLOT_PHRASES[slot] if detailed and slot else ""
        how = MOTION_PHRASES[move] if motion and (rng.random() < 0.7 or i == subject) and move else ""
        names.append(tidied(f"{a(noun(t))} {how} {where}"))
    rng.shuffle(names)
    things = joined(names) if names else "nothing"
    place, time = rng.choice(PLACE_PHRASES[scene.place]), rng.choice(TIME_PHRASES[scene.time])
    weather = rng.choice(WEATHER_PHRASES[scene.weather])
    form = rng.randrange(4)
    if not scene.things:
        text = f"{a(WEATHER_ADJECTIVES[scene.weather] + 'scene')} {place} {time}, empty"
    elif form == 0:
        text = f"{things} {place} {time} {weather}"
    elif form == 1:
        text = f"{things} {place} {weather} {time}"
    elif form == 2:
        text = f"{a(WEATHER_ADJECTIVES[scene.weather] + 'scene')} {place} {time} with {things}"
    else:
        text = f"{', '.join(w for w in (place, time, weather) if w)}: {things}"
    camera = CAMERA_PHRASES[view] if motion and rng.random() < 0.5 and view else ""
    return tidied(f"{text}, {camera}")
