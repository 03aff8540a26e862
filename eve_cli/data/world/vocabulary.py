"""The words that a model of the world is trained on."""

from __future__ import annotations

import re

from eve_cli.data.looks import LOOKS
from eve_cli.data.world import actions, language, scene


def vocabulary() -> list[str]:
    """Every word of the world's grammars and of the looks: the world's own sorted, then the looks' as they come.

    The order numbers the tokens of a new model, so words are only ever added at the end.
    """
    tables = (value for module in (language, scene) for name, value in vars(module).items() if name.isupper())
    own = _words(*tables)
    own = sorted({*own, "a", "an", "and", "the", "with", "nothing", "scene", "empty"})
    looks = _words(*((row.instructions, row.captions) for row in LOOKS.values() if row.in_world))
    moved = _words(actions.ASKED, actions.VERBS)
    later = _words(*((row.instructions, row.captions) for row in LOOKS.values() if not row.in_world))
    synonyms = _words(*(row.synonyms for row in LOOKS.values()))
    return list(dict.fromkeys([*own, *looks, "photo", "photograph", "of", *moved, *later, *synonyms]))


def _words(*values: object) -> list[str]:
    """The words in nested tables of text, without the names of what is filled in."""
    words: list[str] = []
    for value in values:
        if isinstance(value, str):
            words += re.findall(r"[a-z]+", re.sub(r"\{\w+\}", " ", value.lower()))
        elif isinstance(value, dict):
            words += _words(*value.keys(), *value.values())
        elif isinstance(value, (tuple, frozenset)):
            words += _words(*value)
    return words
