"""What people type is read in words that the model knows; what it cannot know stays and is named."""

import pytest

from eve_cli.models.wording import DISTINCT, SYNONYMS, corrected, read

TAUGHT = "make it snowy rainy heavy snow a sketch black and white pixel art add the house boat gray"
KNOWN = frozenset(TAUGHT.split())


@pytest.mark.parametrize(
    ("typed", "read_as"),
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
def test_typed_words_are_read_as_known_ones(typed: str, read_as: str) -> None:
    assert read(typed, KNOWN)[0] == read_as


def test_it_says_what_it_read() -> None:
    assert read("make it stormy with a zebra", KNOWN)[1] == {"stormy": "rainy"}
    assert read("make it vaporwave", frozenset(("make", "it", "vaporwave"))) == ("make it vaporwave", {})


def test_a_model_of_a_whole_language_reads_what_is_typed() -> None:
    assert read("mkae it snwoy & stormy", ()) == ("mkae it snwoy & stormy", {})


def test_words_for_looks_are_no_slip_apart() -> None:
    assert all(corrected(word) == word for word in (*DISTINCT, *SYNONYMS))
