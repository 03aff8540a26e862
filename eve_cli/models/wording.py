"""Replaces synonyms and misspelt words in an instruction by words of a model's vocabulary."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

from eve_cli.models.tokenizer import WORD

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
"""Words for looks, and their replacements where the model does not know them. No names of things."""

_LOOKS = """snowy snowing rainy raining foggy misty night sunset evening sepia sketch pencil watercolor watercolour
cartoon pixel neon vintage negative vivid vibrant grayscale monochrome drawing painting brighter darker warmer cooler
weather winter overcast autumn vaporwave"""
DISTINCT = tuple(dict.fromkeys((*(word for word in SYNONYMS if len(word) > 4), *_LOOKS.split())))
"""Words for looks that are corrected to. No names of things: a horse is no misspelt house."""
SHORTEST = 5
"""Letters of the shortest words that are corrected."""


def normalized(text: str, vocabulary: Collection[str]) -> tuple[str, dict[str, str]]:
    """A text with synonyms and misspelt words replaced where the vocabulary has the replacement, and the replacements.

    Known words stay. With an empty vocabulary, that of a model trained on free text, nothing is replaced.
    """
    replacements: dict[str, str] = {}
    if not vocabulary:
        return text, replacements

    def replace(match: re.Match[str]) -> str:
        word = match.group().lower()
        if word in vocabulary:
            return match.group()
        for candidate in (word, corrected(word)):
            for phrase in (candidate, SYNONYMS.get(candidate, "")):
                if phrase and all(each in vocabulary for each in phrase.split()):
                    replacements[word] = phrase
                    return phrase
        return match.group()

    return WORD.sub(replace, text.replace("&", " and ")), replacements


def words(text: str) -> list[str]:
    """The words of a text, and its runs of symbols such as emoji; punctuation and numbers are none."""
    runs = re.findall(rf"{WORD.pattern}|[^\w\s]+", text)
    return [run for run in runs if run[0].isalpha() or any(unicodedata.category(letter) == "So" for letter in run)]


def corrected(word: str) -> str:
    """The only distinct word that differs by one letter (more, less or other) or by two swapped ones, else the same."""
    if len(word) < SHORTEST or word in DISTINCT:
        return word
    near = [other for other in DISTINCT if abs(len(other) - len(word)) < 2 and _differs_once(word, other)]
    return near[0] if len(near) == 1 else word


def _differs_once(one: str, other: str) -> bool:
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    rest, rest_of_other = one[start:], other[start:]
    swapped = rest[:2] == rest_of_other[1::-1] and rest[2:] == rest_of_other[2:]
    return swapped or rest[1:] == rest_of_other[1:] or rest[1:] == rest_of_other or rest == rest_of_other[1:]
