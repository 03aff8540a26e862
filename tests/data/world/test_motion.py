"""What a caption says of motion and of places is what the drawn frames show, wherever in a clip they begin."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from eve_cli.data.world import feed, language
from eve_cli.data.world.edits import sample_edit
from eve_cli.data.world.motion import CLIP, visible_motion
from eve_cli.data.world.render import render
from eve_cli.data.world.scene import CAMERAS, SLOTS, Scene, Thing, sample_scene

WIDE, HEIGHT = 160, 32  # so wide that no thing leaves the picture
SCENES = [replace(s, things=s.things[:1]) for s in map(sample_scene, range(60))]


def drawn_thing(scene: Scene, frames: range) -> tuple[Tensor, Tensor]:
    """Where the middle of a scene's only thing is drawn (-1 to 1 over the square picture), and its width in pixels."""
    mask = render([scene], frames, (WIDE, HEIGHT)).masks[0, 0]
    columns = mask.amax(1)
    at = (torch.arange(WIDE) + 0.5 - WIDE / 2) * 2 / HEIGHT
    return (columns * at).sum(1) / columns.sum(1), columns.sum(1)


def told(scene: Scene, frames: range) -> list[str]:
    """What captions say of a scene in motion, many of them."""
    return [language.caption(scene, random.Random(seed), motion=True, frames=frames) for seed in range(12)]


@pytest.mark.parametrize("start", [0, 7, 40])
def test_things_move_as_the_caption_says(start: int) -> None:
    frames, said = range(start, start + len(CLIP)), Counter[str]()
    for scene in SCENES:
        still = replace(scene, camera="still")
        middle, width = drawn_thing(still, frames)
        captions = " ".join(told(still, frames))
        left, right = "moving left" in captions, "moving right" in captions
        turns = still.things[0].motion in ("left", "right") and not (left or right)
        assert not (left and right)
        assert not left or (middle.diff() < 0).all(), captions
        assert not right or (middle.diff() > 0).all(), captions
        assert "growing" not in captions or ((width.diff() > -1e-3).all() and width[-1] > width[0]), captions
        said.update({"left": left, "right": right, "grow": "growing" in captions, "turns": turns})
    assert said["left"] >= 5 and said["right"] >= 5
    assert (said["turns"] == 0) == (start == 0)  # from the first frame on, nothing turns round in a clip


@pytest.mark.parametrize("start", [0, 5, 12])
def test_the_camera_moves_as_the_caption_says(start: int) -> None:
    frames = range(start, start + len(CLIP))
    for camera in CAMERAS:
        scene = Scene("meadow", "day", "clear", (Thing("ball", "red", size=0.5),), camera)
        middle, width = drawn_thing(scene, frames)
        captions = " ".join(told(scene, frames))
        assert "pans right" not in captions or (middle.diff() < 0).all()
        assert "pans left" not in captions or (middle.diff() > 0).all()
        assert "zooms in" not in captions or (width.diff() > 0).all()
        assert "zooms out" not in captions or (width.diff() < 0).all()
        assert ("camera" in captions) == (visible_motion(scene, frames).camera not in ("", "still"))
        assert "camera" in captions or camera == "still" or start > 0


@pytest.mark.parametrize("start", [0, 7])
def test_things_are_where_the_caption_says(start: int) -> None:
    frames, said = range(start, start + len(CLIP)), Counter[str]()
    for scene in SCENES:
        middle, _ = drawn_thing(scene, frames)
        captions = " ".join(told(scene, frames))
        for slot, at in SLOTS.items():
            if language.SLOT_PHRASES[slot] in captions:
                said[slot] += 1
                away = (middle.clamp(min(SLOTS.values()), max(SLOTS.values())) - at).abs()
                assert (away < 0.275 + 0.12).all()  # a bird is not drawn around its middle, hence the margin
    assert min(said[slot] for slot in SLOTS) >= 5


def test_a_lone_frame_is_told_as_it_is() -> None:
    car = Thing("car", "red", x=-0.6, slot="left", motion="right", speed=0.06)
    scene = Scene("city", "day", "clear", (car,))
    for number, slot in ((0, "left"), (9, "middle"), (20, "right")):
        captions = " ".join(language.caption(scene, random.Random(seed), frames=[number]) for seed in range(24))
        assert (
            [s for s in SLOTS if language.SLOT_PHRASES[s] in captions]
            == [slot]
            == [*visible_motion(scene, [number]).slots]
        )


def test_without_frames_a_caption_speaks_of_the_first_one() -> None:
    for seed in range(40):
        scene = sample_scene(seed)
        assert language.caption(scene, random.Random(seed)) == language.caption(scene, random.Random(seed), False, [0])
        pair = (sample_edit(seed, motion=True), sample_edit(seed, motion=True, frames=CLIP))
        assert pair[0] == pair[1] and replace(pair[0], caption="", source_caption="") == replace(
            sample_edit(seed), caption="", source_caption=""
        )


def test_trainings_ask_for_the_frames_that_they_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, drawn, caption = [], [], language.caption

    def listen(
        scene: Scene, rng: random.Random, motion: bool = False, frames: Sequence[int] | None = None, *rest: Any
    ) -> str:
        asked.append(frames and list(frames))
        return caption(scene, rng, motion, frames, *rest)

    monkeypatch.setattr(language, "caption", listen)

    def watch(draw: Callable[..., Any]) -> Callable[..., Any]:
        return lambda what, frames, side: drawn.append(list(frames)) or draw(what, frames, side)

    monkeypatch.setattr(feed, "render", watch(feed.render))
    monkeypatch.setattr(feed, "render_edit", watch(feed.render_edit))
    for draw in (lambda: feed.pictures(3, 6, 16), lambda: feed.clips(3, 6, 5, 16), lambda: feed.pairs(3, 4, 16)):
        asked.clear(), drawn.clear()
        draw()
        assert len(drawn) == 1 and drawn[0] in asked
        assert all(frames in (drawn[0], None) for frames in asked)  # None: of an edit whose captions are not used
