"""How a model of a small vocabulary reads what people type: synonyms and misspelt words become words that it knows."""

from __future__ import annotations

import re
from collections.abc import Collection

from eve_cli.models.words import WORD

SYNONYMS = {
    "winter": "snowy",
    "wintry": "snowy",
    "winterly": "snowy",
    "snowfall": "snow",
    "snowstorm": "heavy snow",
    "blizzard": "heavy snow",
    "snowflakes": "snow",
    "icy": "cold",
    "frosty": "snowy",
    "frozen": "snowy",
    "stormy": "rainy",
    "storm": "rain",
    "thunderstorm": "rain",
    "drizzle": "rain",
    "downpour": "pouring rain",
    "raindrops": "rain",
    "hazy": "misty",
    "smoke": "mist",
    "smoky": "misty",
    "overcast": "foggy",
    "cloudy": "foggy",
    "nighttime": "night",
    "nightfall": "night",
    "nocturnal": "night",
    "moonlit": "night",
    "sundown": "sunset",
    "sunrise": "sunset",
    "dawn": "sunset",
    "twilight": "dusk",
    "greyscale": "grayscale",
    "grey": "gray",
    "noir": "black and white",
    "colorless": "black and white",
    "colourless": "black and white",
    "monochromatic": "monochrome",
    "charcoal": "pencil",
    "crayon": "pencil",
    "drawing": "sketch",
    "doodle": "sketch",
    "sketchy": "sketch",
    "aquarelle": "watercolor",
    "manga": "anime",
    "comics": "comic",
    "animated": "cartoon",
    "illustration": "cartoon",
    "pixelated": "pixel art",
    "pixelart": "pixel art",
    "blocky": "pixel art",
    "vaporwave": "neon",
    "synthwave": "neon",
    "retrowave": "neon",
    "cyberpunk": "neon",
    "glow": "neon",
    "nostalgic": "vintage",
    "polaroid": "vintage",
    "antique": "vintage",
    "saturated": "vivid",
    "colourful": "colorful",
    "inverted": "negative",
    "gloomy": "dark",
    "moody": "dark",
    "sunlit": "bright",
    "cosy": "warm",
    "cozy": "warm",
}
"""Words for looks, and what to read where the model was not taught them; never what a thing is called."""

_LOOKS = """snowy snowing rainy raining foggy misty night sunset evening sepia sketch pencil watercolor watercolour
cartoon pixel neon vintage negative vivid vibrant grayscale monochrome drawing painting brighter darker warmer cooler
weather winter overcast autumn vaporwave"""
DISTINCT = tuple(dict.fromkeys((*(word for word in SYNONYMS if len(word) > 4), *_LOOKS.split())))
"""Words for looks that a misspelt word may stand for. Names of things are left out: a horse is no misspelt house."""
SHORTEST = 5
"""Letters that a word has at least if it may be misspelt."""


def read(text: str, known: Collection[str]) -> tuple[str, dict[str, str]]:
    """A text in words that the model was taught, as far as they can be found, and what was read instead of what.

    Known words always stay. Nothing changes for a model that was taught a whole language (`known` is empty).
    """
    changes: dict[str, str] = {}
    if not known:
        return text, changes

    def replaced(match: re.Match[str]) -> str:
        word = match.group().lower()
        if word in known:
            return match.group()
        for candidate in (word, corrected(word)):
            for phrase in (candidate, SYNONYMS.get(candidate, "")):
                if phrase and all(each in known for each in phrase.split()):
                    changes[word] = phrase
                    return phrase
        return match.group()

    return WORD.sub(replaced, text.replace("&", " and ")), changes


def corrected(word: str) -> str:
    """The one distinct word that is a single slip away (a letter more, less, other, or two swapped), else the same."""
    if len(word) < SHORTEST or word in DISTINCT:
        return word
    near = [other for other in DISTINCT if abs(len(other) - len(word)) < 2 and _one_slip(word, other)]
    return near[0] if len(near) == 1 else word


def _one_slip(one: str, other: str) -> bool:
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    rest, rest_of_other = one[start:], other[start:]
    swapped = rest[:2] == rest_of_other[1::-1] and rest[2:] == rest_of_other[2:]
    return swapped or rest[1:] == rest_of_other[1:] or rest[1:] == rest_of_other or rest == rest_of_other[1:]
