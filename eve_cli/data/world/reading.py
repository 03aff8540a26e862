"""What a caption becomes by an instruction: the world's grammars, read backwards."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

from eve_cli.data.looks import LOOKS
from eve_cli.data.world import language as say
from eve_cli.data.world.scene import COLOURS, KINDS, TEXTURES


def edited_caption(caption: str, instruction: str) -> str | None:
    """The caption of the result, in the source caption's words but for what changes; None if it cannot be derived.

    Understands instructions of the world's grammars, and captions that they could generate: "a red car in a meadow"
    and "make the car blue" give "a blue car in a meadow".
    """
    caption, order = _plain(caption), _plain(instruction).rstrip(".!")
    for pattern, change in _orders():
        if match := pattern.fullmatch(order):
            return change(caption, {name: value for name, value in match.groupdict().items() if value})
    return None


Change = Callable[[str, dict[str, str]], str | None]


@cache
def _orders() -> list[tuple[re.Pattern[str], Change]]:
    """Every instruction that is understood, and what it does to a caption."""
    orders: list[tuple[Iterable[str], Change]] = [
        (say.ADD, _add),
        (say.REMOVE, _remove),
        (say.BACKGROUND, _background),
        (say.TEXTURE, _texture),
        (say.COLOUR, lambda caption, fields: _renamed(caption, fields, colour=fields["colour"])),
        (say.KIND, lambda caption, fields: _renamed(caption, fields, kind=fields["new_kind"])),
        *((texts, _now(say.TIME_PHRASES, time)) for time, texts in say.TIMES_ASKED.items()),
        *((texts, _now(say.WEATHER_PHRASES, weather)) for weather, texts in say.WEATHERS_ASKED.items()),
        *(((*row.instructions, *row.synonyms), _look(row.captions[0])) for row in LOOKS.values()),
    ]
    return [(re.compile(_expanded(text)), change) for texts, change in orders for text in texts]


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _any(name: str, words: Iterable[str]) -> str:
    """A pattern for one of some phrases, the longest first."""
    return f"(?P<{name}>{'|'.join(sorted(map(re.escape, words), key=len, reverse=True))})"


def _noun(before: str = "") -> str:
    parts = [_any(f"{before}colour", COLOURS), _any(f"{before}texture", TEXTURES), _any(f"{before}kind", KINDS)]
    return f"(?:{parts[0]} )?(?:{parts[1]} )?{parts[2]}"


def _expanded(template: str) -> str:
    """A template of an instruction as a pattern."""
    blanks = {
        "the": f"the (?:{_any('the_colour', COLOURS)} )?{_any('the_kind', KINDS)}",
        "a": f"an? {_noun('new_')}",
        "where": f"(?: {_any('where', say.SLOT_PHRASES.values())})?",
        "place": _any("place", (name for names in say.PLACE_NAMES.values() for name in names)),
        "texture": _any("texture", TEXTURES),
        "pattern": _any("pattern", say.TEXTURE_NOUNS.values()),
        "colour": _any("colour", COLOURS),
    }
    return re.sub(r"\\\{(\w+)\\\}", lambda match: blanks[match[1]], re.escape(template).replace(r"\ ", " "))


NAME = re.compile(
    rf"\ban? {_noun()}\b(?: {_any('motion', filter(None, say.MOTION_PHRASES.values()))})?"
    rf"(?: {_any('where', say.SLOT_PHRASES.values())})?"
)
"""A thing as captions name it."""


def _things(caption: str, change: Callable[[list[re.Match[str]]], Sequence[str] | None]) -> str | None:
    """The caption with the names that `change` makes of those it has, and as it is if that is None."""
    matches = list(NAME.finditer(caption))
    names = change(matches)
    if names is None:
        return None
    if not matches:
        return caption.replace(", empty", f" with {say.joined(names)}") if ", empty" in caption else None
    if names:
        return caption[: matches[0].start()] + say.joined(names) + caption[matches[-1].end() :]
    phrases = [said[1] for table in (say.PLACE_PHRASES, say.TIME_PHRASES) if (said := _said(caption, table))]
    weather = _said(caption, say.WEATHER_PHRASES) or _adjective(caption) or ("clear", "")
    return f"{say.a(say.WEATHER_ADJECTIVES[weather[0]] + 'scene')} {' '.join(phrases)}, empty"


def _add(caption: str, fields: dict[str, str]) -> str | None:
    name = say.a(" ".join(fields[key] for key in ("new_colour", "new_texture", "new_kind") if key in fields))
    return _things(caption, lambda matches: [*(each[0] for each in matches), " ".join([name, *_where(fields)])])


def _where(fields: Mapping[str, str]) -> list[str]:
    return [fields["where"]] if "where" in fields else []


def _remove(caption: str, fields: dict[str, str]) -> str | None:
    def others(matches: list[re.Match[str]]) -> list[str] | None:
        left = [each[0] for each in matches if not _meant(each, fields)]
        return left if len(left) < len(matches) else None

    return _things(caption, others)


def _renamed(caption: str, fields: dict[str, str], **parts: str) -> str | None:
    """The caption in which the thing that is meant has another colour, texture or kind."""

    def renamed(matches: list[re.Match[str]]) -> list[str] | None:
        names = [_name(each, parts) if _meant(each, fields) else each[0] for each in matches]
        return names if any(_meant(each, fields) for each in matches) else None

    return _things(caption, renamed)


def _name(match: re.Match[str], parts: Mapping[str, str]) -> str:
    now = {**match.groupdict(), **parts}
    if now["texture"] == "plain":
        now["texture"] = None
    noun = say.a(" ".join(now[key] for key in ("colour", "texture", "kind") if now[key]))
    return " ".join([noun, *(now[key] for key in ("motion", "where") if now[key])])


def _meant(match: re.Match[str], fields: Mapping[str, str]) -> bool:
    """Whether an instruction speaks of this thing."""
    return match["kind"] == fields["the_kind"] and match["colour"] in (fields.get("the_colour", match["colour"]), None)


def _texture(caption: str, fields: dict[str, str]) -> str | None:
    textures = {noun: texture for texture, noun in say.TEXTURE_NOUNS.items()}
    return _renamed(caption, fields, texture=fields.get("texture") or textures[fields["pattern"]])


def _background(caption: str, fields: dict[str, str]) -> str | None:
    place = next(place for place, names in say.PLACE_NAMES.items() if fields["place"] in names)
    said = _said(caption, say.PLACE_PHRASES)
    return caption.replace(said[1], say.PLACE_PHRASES[place][0]) if said else None


def _now(table: Mapping[str, Sequence[str]], value: str) -> Change:
    """A change of the time or the weather, said where the old one was said, else behind the place."""

    def change(caption: str, fields: dict[str, str]) -> str | None:
        phrase = next(filter(None, table[value]))
        if said := _said(caption, table):
            return caption.replace(said[1], phrase)
        if table is say.WEATHER_PHRASES and (said := _adjective(caption)):
            return caption.replace(said[1], say.a(say.WEATHER_ADJECTIVES[value] + "scene"))
        if place := _said(caption, say.PLACE_PHRASES):
            listed = re.search(rf"{place[1]}(, [^:]*)?:", caption)
            return caption.replace(place[1], f"{place[1]}{',' if listed else ''} {phrase}")
        return f"{caption} {phrase}"

    return change


def _look(phrase: str) -> Change:
    return lambda caption, fields: f"{caption}, {phrase}"


def _said(caption: str, table: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """Which value of a table a caption names, and how."""
    phrases = ((value, phrase) for value, row in table.items() for phrase in row if phrase)
    return next(((value, phrase) for value, phrase in phrases if re.search(rf"\b{phrase}\b", caption)), None)


def _adjective(caption: str) -> tuple[str, str] | None:
    """Which weather a caption names before the word scene, and how."""
    scenes = {value: say.a(word + "scene") for value, word in say.WEATHER_ADJECTIVES.items()}
    return next(((value, scene) for value, scene in scenes.items() if scene in caption), None)
