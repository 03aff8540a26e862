"""Which answer a clip shows is correct for true edits, also under blur, and wrong for sources."""

import pytest
import torch

from eve_cli.data.world.edits import ALIGNED_TASKS, MOTION, render_edit, sample_edit
from eve_cli.data.world.render import render
from eve_cli.evaluation import scene_matching

FRAMES = range(8)


@pytest.mark.parametrize("task", [*ALIGNED_TASKS, MOTION])
def test_true_edits_show_what_was_asked_and_sources_do_not(task: str) -> None:
    for seed in range(2):
        edit = sample_edit(seed, task, held_out=None, frames=FRAMES)
        answers, drawn = scene_matching.candidates(edit, FRAMES, 32), render_edit([edit], FRAMES, 32)
        soft = torch.nn.functional.avg_pool2d(drawn.edited[0], 3, 1, 1, count_include_pad=False)
        assert answers.shows_target(drawn.edited[0]) and answers.shows_target(soft)
        assert not answers.shows_target(drawn.source[0])
        assert len(set(answers.names)) >= 2


def test_a_motion_is_reported_from_its_opposite_whatever_its_speed() -> None:
    edits = [sample_edit(seed, MOTION, held_out=None, frames=FRAMES) for seed in range(30)]
    found = [e for e in edits if e.subject is not None and e.target.things[e.subject].motion in ("left", "right")][:3]
    assert len(found) == 3
    for edit in found:
        thing = edit.target.things[edit.subject or 0]
        other = {"left": "right", "right": "left"}[thing.motion]
        answers = scene_matching.candidates(edit, FRAMES, 32)
        for motion, right in ((thing.motion, True), (other, False)):
            scene = edit.target.with_thing(edit.subject or 0, motion=motion, speed=0.042)
            clip = render([scene], list(FRAMES), 32).frames
            assert answers.shows_target(clip[0]) == right
