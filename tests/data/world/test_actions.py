"""Edits of motion: what is asked is what the true edit shows, and nothing else changes."""

import hashlib
import re
from dataclasses import replace

import pytest
import torch

from eve_cli.data.world.actions import ASKED, VERBS, moves, possible
from eve_cli.data.world.edits import ALIGNED_TASKS, MOTION, UNSEEN_TASKS, WorldEdit, render_edit, sample_edit
from eve_cli.data.world.language import MOTION_PHRASES
from eve_cli.data.world.scene import KINDS, Scene
from eve_cli.data.world.vocabulary import vocabulary
from eve_cli.models.parts import task_labels
from eve_cli.tasks import UNKNOWN_TASK

FRAMES = range(8)


def edits(count: int) -> list[WorldEdit]:
    return [sample_edit(seed, MOTION, held_out=None, frames=FRAMES) for seed in range(count)]


def test_the_thing_moves_as_asked_and_only_in_the_true_edit() -> None:
    for edit in edits(60):
        assert edit.subject is not None
        asked = edit.target.things[edit.subject].motion
        assert moves(edit.target, edit.subject, FRAMES) == asked != moves(edit.source, edit.subject, FRAMES)
        assert asked in possible(edit.target.things[edit.subject].kind)
        said = {form.format(the="THE", go=go) for form in ASKED[asked] for go in ("move", *VERBS.values())}
        assert re.sub(r"the( \w+)? (" + "|".join(KINDS) + r")\b", "THE", edit.instruction) in said
        phrase = MOTION_PHRASES[asked]
        assert edit.caption.count(phrase) == edit.source_caption.count(phrase) + 1


def test_the_mask_lies_where_the_thing_was_and_is() -> None:
    sampled = edits(6)
    drawn = render_edit(sampled, FRAMES, 48)
    for row, edit in enumerate(sampled):
        assert edit.subject is not None
        stay = edit.source.without(edit.subject)
        assert stay == edit.target.without(edit.subject)
        seen = drawn.before.masks[row, edit.subject] + drawn.after.masks[row, edit.subject]
        elsewhere = (seen == 0) & (drawn.changed[row] > 0)
        assert drawn.changed[row].sum() > 0 and not elsewhere.any()


@pytest.mark.parametrize("asked", ["left", "right"])
def test_the_picture_shows_the_way(asked: str) -> None:
    """The middle of the drawn mask itself, not the scene's numbers, goes left or right from every frame to the next."""
    sampled = [e for e in edits(40) if e.subject is not None and e.target.things[e.subject].motion == asked][:4]
    still = [WorldEdit(e.task, "", e.source, _unmoved(e), "", "") for e in sampled]
    drawn = render_edit(still, FRAMES, 48)
    x = torch.arange(48.0)
    for row, edit in enumerate(sampled):
        mask = drawn.after.masks[row, edit.subject or 0]
        middle = (mask.sum(1) * x).sum(1) / mask.sum((1, 2))
        steps = middle.diff()
        assert (steps < 0).all() if asked == "left" else (steps > 0).all()


def _unmoved(edit: WorldEdit) -> Scene:
    """The target seen by a camera that stands still, with nothing before the thing."""
    assert edit.subject is not None
    things = tuple(
        replace(t, x=t.x * 0.5) if i == edit.subject else replace(t, y=9.0) for i, t in enumerate(edit.target.things)
    )
    return replace(edit.target, things=things, camera="still")


def test_motion_is_none_of_the_tasks_of_training() -> None:
    assert MOTION not in (*ALIGNED_TASKS, *UNSEEN_TASKS)
    assert task_labels([MOTION]).tolist() == [UNKNOWN_TASK]
    assert {sample_edit(seed).task for seed in range(60)} == set(ALIGNED_TASKS)


@pytest.mark.parametrize("motion", ASKED)
def test_a_motion_is_asked_for_in_many_ways_of_known_words(motion: str) -> None:
    texts = ASKED[motion]
    assert len(set(texts)) == len(texts) >= 8 and len({text.split()[0] for text in texts}) >= 5
    words = {word for text in texts for word in re.findall(r"[a-z]+", re.sub(r"\{\w+\}", "", text))}
    assert words | set(VERBS.values()) <= set(vocabulary())


def test_edits_of_earlier_seeds_and_numbers_of_words_are_what_they_were() -> None:
    told = [repr(sample_edit(seed, task)) for seed in range(40) for task in (None, *ALIGNED_TASKS, *UNSEEN_TASKS)]
    told += [repr(sample_edit(seed, held_out=None, motion=True, frames=FRAMES)) for seed in range(80)]
    assert hashlib.sha256("\n".join(told).encode()).hexdigest().startswith("7f67134dd87b85e3243cec59ba257840")
    assert vocabulary()[332] == "inverted"
