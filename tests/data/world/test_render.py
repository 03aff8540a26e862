"""A rendering is a pure function of scene, frame number and size, and what it says of itself is true."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from eve_cli.data.world.render import MOST_THINGS, Rendering, render
from eve_cli.data.world.scene import Scene, Thing, is_held_out, sample_scene
from eve_cli.evaluation.truth import psnr, warp_error

SCENES = [sample_scene(seed) for seed in range(12)]
CLEAR = [replace(scene, weather="clear") for scene in SCENES]


@pytest.fixture(scope="module")
def drawn() -> Rendering:
    return render(SCENES, 8, 32, truth=True)


@pytest.fixture(scope="module")
def clear() -> Rendering:
    return render(CLEAR, 6, 64, truth=True)


def test_two_calls_give_the_same_bytes(drawn: Rendering) -> None:
    again = render(SCENES, 8, 32, truth=True)
    for name, value in vars(drawn).items():
        assert torch.equal(value, getattr(again, name)), name


@pytest.mark.parametrize("row", range(0, len(SCENES), 3))
def test_a_scene_alone_is_as_in_a_batch(drawn: Rendering, row: int) -> None:
    alone = render(SCENES[row : row + 1], 8, 32, truth=True)
    for name, value in vars(drawn).items():
        assert torch.allclose(value[row : row + 1], getattr(alone, name), atol=1e-5), name


def test_a_frame_alone_is_as_in_its_clip(drawn: Rendering) -> None:
    some = render(SCENES, [7, 2], 32)
    assert torch.allclose(some.frames, drawn.frames[:, [7, 2]], atol=1e-5)
    assert torch.allclose(some.masks, drawn.masks[:, :, [7, 2]], atol=1e-5)
    assert torch.allclose(some.depth, drawn.depth[:, [7, 2]], atol=1e-5)


def test_many_scenes_are_drawn_in_pieces_without_a_seam(monkeypatch: pytest.MonkeyPatch, drawn: Rendering) -> None:
    monkeypatch.setattr("eve_cli.data.world.render.PIXELS_AT_ONCE", 5 * 8 * 32 * 32)
    pieces = render(SCENES, 8, 32, truth=True)
    assert torch.allclose(pieces.frames, drawn.frames, atol=1e-5)
    assert pieces.flow is not None and pieces.flow.shape == (12, 7, 2, 32, 32)


@pytest.mark.parametrize("size", [(16, 16), (96, 54), (27, 48), (33, 17)])
def test_any_size_and_aspect(size: tuple[int, int]) -> None:
    width, height = size
    wide = render(SCENES[:2], 3, size, truth=True)
    assert wide.frames.shape == (2, 3, 3, height, width)
    assert wide.masks.shape == (2, MOST_THINGS, 3, height, width)
    assert wide.depth.shape == (2, 3, height, width)
    assert wide.flow is not None and wide.flow.shape == (2, 2, 2, height, width)
    assert wide.visible is not None and wide.visible.shape == (2, 2, height, width)
    assert wide.frames.isfinite().all() and wide.frames.min() >= 0 and wide.frames.max() <= 1


def test_a_wide_picture_holds_the_square_one() -> None:
    square, wide = render(CLEAR[:4], 2, 32).frames, render(CLEAR[:4], 2, (64, 32)).frames
    assert torch.allclose(wide[..., 16:48], square, atol=1e-4)


def test_masks_share_the_picture_and_name_the_right_thing(drawn: Rendering) -> None:
    assert drawn.masks.min() >= 0 and drawn.masks.sum(1).max() <= 1 + 1e-5
    for row, scene in enumerate(SCENES):
        seen = drawn.masks[row].flatten(1).sum(1) > 0
        assert seen.tolist() == [i < len(scene.things) for i in range(MOST_THINGS)]


def test_depth_runs_from_the_eye_to_the_sky(drawn: Rendering) -> None:
    assert drawn.depth.min() > 0 and drawn.depth.max() == 1
    for row, scene in enumerate(SCENES):
        for mask, thing in zip(drawn.masks[row], scene.things, strict=False):
            assert drawn.depth[row][mask > 0.6].unique().tolist() == pytest.approx([thing.depth])


def test_the_near_thing_hides_the_far_one() -> None:
    far = Thing("house", "red", depth=0.6, size=0.6)
    near = Thing("ball", "blue", depth=0.3)
    for things, index in (((far, near), 1), ((near, far), 0)):
        drawn = render([Scene("meadow", "day", "clear", things)], 1, 32)
        assert drawn.masks[0, index, 0, 22, 16] > 0.99
        assert drawn.frames[0, 0, 2, 22, 16] > drawn.frames[0, 0, 0, 22, 16]


def test_true_flow_carries_each_frame_to_the_next(clear: Rendering) -> None:
    assert clear.flow is not None and clear.visible is not None
    along = warp_error(clear.frames, clear.flow, clear.visible)
    still = warp_error(clear.frames, torch.zeros_like(clear.flow), clear.visible)
    moves = clear.flow.abs().flatten(1).amax(1) > 0.5
    assert moves.sum() >= 6
    assert (along < 1.5e-3).all() and along.mean() < 5e-4
    assert (along < still)[moves].all() and (along[moves] < 0.35 * still[moves]).float().mean() > 0.7
    assert clear.visible.float().mean() > 0.9


def test_flow_is_the_motion_of_the_things_middle() -> None:
    thing = Thing("ball", "red", motion="right", speed=0.0625, x=-0.3)
    drawn = render([Scene("desert", "day", "clear", (thing,))], 4, 64, truth=True)
    assert drawn.flow is not None
    inside = drawn.masks[0, 0, :-1] > 0.9
    assert drawn.flow[0, :, 0][inside] == pytest.approx(0.0625 * 32, abs=1e-3)
    assert drawn.flow[0, :, 1].abs().max() < 1e-3
    assert drawn.flow[0, :, 0][~(drawn.masks[0, 0, :-1] > 0)].abs().max() == 0


def test_flow_mirrors_a_thing_that_turns_round() -> None:
    thing = Thing("car", "red", "striped", x=0.9, size=0.4, motion="right", speed=0.05)
    drawn = render([Scene("desert", "day", "clear", (thing,))], range(4), (128, 64), truth=True)
    assert drawn.flow is not None and drawn.visible is not None
    steps = [drawn.flow[:, i : i + 1] for i in range(3)]
    assert max(float(step[:, :, 0].max() - step[:, :, 0].min()) for step in steps) > 20
    assert float(warp_error(drawn.frames, drawn.flow, drawn.visible)) < 1.5e-3


def test_the_same_scene_is_drawn_at_480_and_at_64() -> None:
    large = render(CLEAR[:4], [5], 480).frames[:, 0]
    small = render(CLEAR[:4], [5], 64).frames[:, 0]
    assert (psnr(F.interpolate(large, (64, 64), mode="area"), small) > 20).all()


def test_weather_covers_a_scene_alike_at_any_size() -> None:
    for weather in ("snowy", "rainy", "foggy"):
        scene = replace(CLEAR[1], weather=weather)
        large = F.interpolate(render([scene], [5], 480).frames[:, 0], (16, 16), mode="area")
        small = F.interpolate(render([scene], [5], 64).frames[:, 0], (16, 16), mode="area")
        assert float(psnr(large, small)) > 16
        assert (large.mean((2, 3)) - small.mean((2, 3))).abs().max() < 0.04


def test_held_out_combinations_are_drawn_only_when_asked_for() -> None:
    assert not any(is_held_out(sample_scene(seed)) for seed in range(1000, 1500))
    assert all(is_held_out(sample_scene(seed, held_out=True)) for seed in range(40))
    either = [is_held_out(sample_scene(seed, held_out=None)) for seed in range(200)]
    assert 5 < sum(either) < 195


def test_every_thing_of_a_scene_has_a_kind_and_a_slot_of_its_own() -> None:
    for seed in range(300):
        things = sample_scene(seed).things
        assert 1 <= len(things) <= MOST_THINGS
        assert len({t.kind for t in things}) == len({t.slot for t in things}) == len(things)
