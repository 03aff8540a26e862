"""Instructions of the world applied to captions: what they say afterwards is what the edited scene's caption says."""

import re

import pytest

from eve_cli.data.looks import LOOKS
from eve_cli.data.world import language as say
from eve_cli.data.world.edits import ALIGNED_TASKS, sample_edit
from eve_cli.data.world.reading import NAME, edited_caption
from eve_cli.data.world.vocabulary import vocabulary


def facts(caption: str) -> tuple[object, ...]:
    """What a caption says, whatever its words."""
    names = sorted((m["colour"] or "", m["texture"] or "", m["kind"]) for m in NAME.finditer(caption))
    tables = (say.PLACE_PHRASES, say.TIME_PHRASES, say.WEATHER_PHRASES)
    said = [
        next((v for v, row in t.items() for p in row if p and re.search(rf"\b{p}\b", caption)), None) for t in tables
    ]
    weather = said[2] or next((v for v, word in say.WEATHER_ADJECTIVES.items() if word and word in caption), "clear")
    return names, said[0], said[1] or "day", weather


@pytest.mark.parametrize("task", ALIGNED_TASKS)
def test_every_instruction_of_the_world_is_understood(task: str) -> None:
    for seed in range(150):
        edit = sample_edit(seed, task, held_out=None)
        told = edited_caption(edit.source_caption, edit.instruction)
        assert told is not None, (edit.instruction, edit.source_caption)
        assert facts(told) == facts(edit.caption), (edit.instruction, edit.source_caption, told, edit.caption)
        assert not edit.look or told.rsplit(", ", 1)[-1] in LOOKS[edit.look].captions
        assert not set(re.findall("[a-z]+", told)) - set(vocabulary())


@pytest.mark.parametrize(
    ("caption", "instruction", "told"),
    [
        ("a red car in a meadow", "Make the car blue.", "a blue car in a meadow"),
        ("a green striped boat on a beach", "make the boat plain", "a green boat on a beach"),
        ("a red car moving left in a meadow", "turn the car into a boat", "a red boat moving left in a meadow"),
        ("a red car and an orange ball at the beach", "remove the ball", "a red car at the beach"),
        ("a snowy scene in a city at night with a red car", "hide the car", "a snowy scene in a city at night, empty"),
        ("a scene in a city, empty", "add a red car on the left", "a scene in a city with a red car on the left"),
        ("in a meadow, at night: a red car", "let it snow", "in a meadow, in the snow, at night: a red car"),
        ("a red car in a meadow", "make it sepia", "a red car in a meadow, sepia-toned"),
        ("a man rides a horse", "let it snow", "a man rides a horse in the snow"),
        ("a man rides a horse", "make the horse blue", None),
        ("a red car in a meadow", "make the blue car green", None),
        ("a red car in a meadow", "give the driver a hat", None),
    ],
)
def test_what_is_not_asked_keeps_its_words(caption: str, instruction: str, told: str | None) -> None:
    assert edited_caption(caption, instruction) == told
