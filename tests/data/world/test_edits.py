"""An edit asks for what its true answer shows, changes nothing else, and can be asked for in many ways."""

import random
import re

import pytest
import torch

from eve_cli.data.looks import LOOKS
from eve_cli.data.world import feed, language
from eve_cli.data.world.edits import ALIGNED_TASKS, UNSEEN_CAPTIONS, UNSEEN_TASKS, WorldEdit, render_edit, sample_edit
from eve_cli.data.world.render import render
from eve_cli.data.world.scene import KINDS, Scene, is_held_out, sample_scene
from eve_cli.data.world.vocabulary import vocabulary
from eve_cli.tasks import TASKS

EVERY = (*ALIGNED_TASKS, *UNSEEN_TASKS)
TABLES = {
    "add": language.ADD,
    "remove": language.REMOVE,
    "background": language.BACKGROUND,
    "texture": language.TEXTURE,
    "colour": language.COLOUR,
    "kind": language.KIND,
    "segment": language.SEGMENT,
    "sketch": language.SKETCH,
    "depth": language.DEPTH,
    "mark": language.MARK,
    **language.TIMES_ASKED,
    **language.WEATHERS_ASKED,
    **{f"look {name}": look.instructions for name, look in LOOKS.items()},
}


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def edits(task: str, count: int = 6) -> list[WorldEdit]:
    return [sample_edit(seed, task) for seed in range(count)]


def test_the_tasks_are_the_models() -> None:
    assert EVERY == TASKS


@pytest.mark.parametrize("task", EVERY)
def test_every_task_has_edits_that_change_the_picture(task: str) -> None:
    sampled = edits(task, 4)
    assert sampled == edits(task, 4)
    drawn = render_edit(sampled, [0, 3], 32)
    assert drawn.source.shape == drawn.edited.shape == (4, 2, 3, 32, 32)
    assert drawn.changed.shape == (4, 2, 32, 32)
    assert (drawn.changed.flatten(1).mean(1) > 0.005).all()
    assert torch.equal(drawn.edited, render_edit(sampled, [0, 3], 32).edited)
    assert all(edit.task == task for edit in sampled)


def test_all_of_the_seven_tasks_are_drawn_when_none_is_named() -> None:
    assert {sample_edit(seed).task for seed in range(60)} == set(ALIGNED_TASKS)


@pytest.mark.parametrize("kind", TABLES)
def test_a_kind_of_edit_is_asked_for_in_many_ways(kind: str) -> None:
    texts = TABLES[kind]
    assert len(set(texts)) == len(texts) >= 8
    assert len({text.split()[0] for text in texts}) >= 5


@pytest.mark.parametrize("task", ["add", "remove", "local", "texture"])
def test_an_edit_of_a_thing_touches_nothing_else(task: str) -> None:
    sampled = edits(task, 8)
    drawn = render_edit(sampled, 3, 48)
    for row, edit in enumerate(sampled):
        assert edit.subject is not None
        touched = torch.zeros_like(drawn.before.masks[row, 0])
        if task != "add":
            touched = touched + _whole(edit.source, edit.subject)
        if task != "remove":
            touched = touched + _whole(edit.target, edit.subject)
        outside = (touched == 0).unsqueeze(1).expand_as(drawn.source[row])
        assert torch.allclose(drawn.source[row][outside], drawn.edited[row][outside], atol=1e-5), edit.instruction
        assert drawn.changed[row].sum() > 0


def _whole(scene: Scene, index: int) -> torch.Tensor:
    """The share of each pixel (frames, h, w) that a thing takes when nothing stands before it."""
    alone = Scene(scene.place, scene.time, scene.weather, (scene.things[index],), scene.camera, scene.seed)
    return render([alone], 3, 48).masks[0, 0]


def test_another_background_leaves_the_things() -> None:
    sampled = edits("background", 8)
    drawn = render_edit(sampled, 3, 48)
    for row in range(len(sampled)):
        thing = (drawn.before.masks[row].sum(0) > 1 - 1e-6).unsqueeze(1).expand_as(drawn.source[row])
        assert thing.any()
        assert torch.allclose(drawn.source[row][thing], drawn.edited[row][thing], atol=1e-4)
        assert torch.equal(drawn.before.masks[row], drawn.after.masks[row])


def test_a_global_edit_changes_time_or_weather_alone() -> None:
    for edit in edits("global", 20):
        source, target = edit.source, edit.target
        assert (source.place, source.things, source.camera) == (target.place, target.things, target.camera)
        assert (source.time == target.time) != (source.weather == target.weather)


def test_maps_of_the_unseen_tasks_are_the_renderers() -> None:
    segment = render_edit(edits("segment", 3), 2, 32)
    for row, edit in enumerate(edits("segment", 3)):
        assert torch.equal(segment.edited[row, :, 0], segment.before.masks[row, edit.subject])
    depth = render_edit(edits("depth", 3), 2, 32)
    assert torch.equal(depth.edited[:, :, 1], 1 - depth.before.depth)
    mark = render_edit(edits("mark", 3), 2, 32)
    inside = mark.before.masks[range(3), [edit.subject for edit in edits("mark", 3)]] > 0.99
    assert (mark.changed[inside] == 0).float().mean() > 0.9
    sketch = render_edit(edits("sketch", 3), 2, 32).edited
    assert torch.equal(sketch[:, :, 0], sketch[:, :, 2]) and sketch.mean() < 0.5


@pytest.mark.parametrize("task", ALIGNED_TASKS)
def test_captions_name_what_is_there(task: str) -> None:
    for edit in edits(task, 12):
        for scene, caption in ((edit.source, edit.source_caption), (edit.target, edit.caption)):
            said = words(caption)
            for thing in scene.things:
                assert language.noun(thing) in caption
            if task != "style":
                assert said & set(KINDS) == {thing.kind for thing in scene.things}
            assert scene.place in said
    assert all(sample_edit(seed, "style").caption != sample_edit(seed, "style").source_caption for seed in range(6))


def test_instructions_name_what_they_are_about() -> None:
    for task in ("add", "remove", "texture", "local", "segment", "mark"):
        for edit in edits(task, 12):
            assert edit.subject is not None
            scene = edit.target if task == "add" else edit.source
            assert scene.things[edit.subject].kind in words(edit.instruction)
            if task == "local":
                thing = edit.target.things[edit.subject]
                assert words(edit.instruction) & {thing.colour, thing.kind}


def test_an_edit_asks_for_a_change_and_tells_of_it() -> None:
    for task in ("add", "remove", "background", "texture", "local"):
        for edit in edits(task, 12):
            assert edit.source != edit.target and edit.source_caption != edit.caption


def test_held_out_combinations_are_in_no_edit_unless_asked_for() -> None:
    for seed in range(200):
        edit = sample_edit(seed)
        assert not is_held_out(edit.source) and not is_held_out(edit.target)
    for seed in range(20):
        edit = sample_edit(seed, held_out=True)
        assert is_held_out(edit.source) or is_held_out(edit.target)


def test_the_vocabulary_has_every_word_that_can_be_said() -> None:
    known = set(vocabulary())
    assert len(known) == len(vocabulary())
    texts = [text for look in LOOKS.values() for text in (*look.instructions, *look.captions)]
    texts += [text.replace("{the}", "") for text in UNSEEN_CAPTIONS.values()]
    for seed in range(150):
        edit = sample_edit(seed, EVERY[seed % len(EVERY)], motion=True)
        texts += [edit.instruction, edit.source_caption, edit.caption]
    for draw in (feed.pictures(1, 24, 16).texts, feed.clips(1, 12, 2, 16).texts, feed.pairs(1, 12, 16).instructions):
        texts += draw
    assert set().union(*map(words, texts)) <= known


def test_every_scene_can_be_told_with_what_moves() -> None:
    told = [language.caption(sample_scene(seed), random.Random(seed), motion=True) for seed in range(80)]
    assert any("camera" in text for text in told) and any("flying" in text for text in told)
    assert not any("  " in text or " ," in text or text != text.strip(" ,") for text in told)
    assert language.caption(Scene("city", "day", "clear", ()), random.Random(0)).startswith("a scene ")


def test_batches_are_functions_of_their_seed() -> None:
    one, same, other = (feed.pairs(seed, 6, 16) for seed in (1, 1, 2))
    assert torch.equal(one.edited, same.edited) and one.instructions == same.instructions != other.instructions
    first, again = feed.clips(5, 4, 3, 16), feed.clips(5, 4, 3, 16)
    assert torch.equal(first.frames, again.frames) and first.frames.shape == (4, 3, 3, 16, 16)
