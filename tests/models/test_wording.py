"""Typed words become words that the model knows; other words stay."""

import pytest

from eve_cli.models.wording import DISTINCT, SYNONYMS, corrected, normalized

TEXT = "make it snowy rainy heavy snow a sketch black and white pixel art add the house boat gray"
VOCABULARY = frozenset(TEXT.split())


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("Make it SNOWY", "Make it SNOWY"),
        ("make it snwoy", "make it snowy"),
        ("make it snowwy", "make it snowy"),
        ("make it ranny", "make it rainy"),
        ("make it wintry", "make it snowy"),
        ("a blizard", "a heavy snow"),
        ("make it stormy", "make it rainy"),
        ("make it black & white", "make it black  and  white"),
        ("make it noir", "make it black and white"),
        ("make it pixelated", "make it pixel art"),
        ("add a horse", "add a horse"),
        ("add a boar", "add a boar"),
        ("make it grey", "make it gray"),
    ],
)
def test_typed_words_become_known_ones(typed: str, expected: str) -> None:
    assert normalized(typed, VOCABULARY)[0] == expected


def test_it_says_what_it_normalized() -> None:
    assert normalized("make it stormy with a zebra", VOCABULARY)[1] == {"stormy": "rainy"}
    assert normalized("make it vaporwave", frozenset(("make", "it", "vaporwave"))) == ("make it vaporwave", {})


def test_nothing_is_replaced_for_a_model_of_free_text() -> None:
    assert normalized("mkae it snwoy & stormy", ()) == ("mkae it snwoy & stormy", {})


def test_words_for_looks_are_not_corrected_to_each_other() -> None:
    assert all(corrected(word) == word for word in (*DISTINCT, *SYNONYMS))
