"""Looks are pure functions that move with the frame's number, and have words enough."""

import pytest
import torch

from eve_cli.data.looks import LOOKS

MOVING = ("snowy", "rainy", "foggy")


@pytest.fixture(scope="module")
def clip() -> torch.Tensor:
    smooth = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(smooth, size=(48, 64), mode="bilinear").expand(4, -1, -1, -1)


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_keeps_shape_and_range_and_changes_the_picture(name: str, clip: torch.Tensor) -> None:
    before = clip.clone()
    looked = LOOKS[name].function(clip, 3, 0)
    assert looked.shape == clip.shape and looked.dtype == clip.dtype
    assert looked.min() >= 0 and looked.max() <= 1
    assert (looked - clip).abs().mean() > 0.04
    assert torch.equal(clip, before)
    assert torch.equal(looked, LOOKS[name].function(clip, 3, 0))


@pytest.mark.parametrize("name", LOOKS)
def test_part_of_a_clip_looks_as_it_does_in_the_whole(name: str, clip: torch.Tensor) -> None:
    look = LOOKS[name].function
    whole = look(clip, 3, 10)
    assert torch.allclose(look(clip[2:3], 3, 12), whole[2:3], atol=1e-6)
    assert torch.allclose(look(clip[None], 3, 10)[0], whole, atol=1e-6)
    assert (not torch.allclose(whole[0], whole[1], atol=1e-3)) == (name in MOVING)


def test_flakes_fall_and_are_as_many_on_a_large_picture() -> None:
    from eve_cli.data.effects import flakes

    small = flakes(torch.zeros(1, 3, 64, 64), 1, 0)
    large = flakes(torch.zeros(1, 3, 240, 240), 1, 0)
    assert small.mean() == pytest.approx(large.mean().item(), rel=0.2)
    assert 0.02 < small.mean() < 0.10


def test_flakes_persist_and_fall_from_frame_to_frame() -> None:
    from eve_cli.data.effects import flakes

    covered = flakes(torch.zeros(2, 3, 128, 128), 1, 0)[:, 0]
    still = (covered[0] * covered[1]).sum()
    fallen = [(covered[0, : 128 - n] * covered[1, n:]).sum() for n in range(1, 12)]
    raised = [(covered[1, : 128 - n] * covered[0, n:]).sum() for n in range(1, 12)]
    assert max(fallen) > 1.3 * still and max(fallen) > 1.3 * max(raised)


@pytest.mark.parametrize("name", ["snowy", "rainy"])
def test_weather_acts_on_the_ground_more_than_on_a_face(name: str) -> None:
    """Grey ground below and a patch of skin in the middle: snow brightens the one, rain darkens it, the other stays."""
    scene = torch.full((1, 3, 128, 128), 0.5)
    scene[..., :40, :] = torch.tensor([0.45, 0.55, 0.5]).view(3, 1, 1)
    scene[..., 44:72, 50:78] = torch.tensor([0.80, 0.62, 0.52]).view(3, 1, 1)
    change = (LOOKS[name].function(scene, 3, 0) - scene).mean(1)[0]
    ground, face = change[100:124].mean(), change[50:66, 56:72].median()
    assert (ground > 0.2) if name == "snowy" else (ground < -0.1)
    assert ground > face + 0.2 if name == "snowy" else ground < 0


@pytest.mark.parametrize("name", [name for name in LOOKS if name not in ("pixel art", "snowy", "rainy")])
def test_a_look_is_alike_at_every_size(name: str) -> None:
    smooth = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(2))
    large = torch.nn.functional.interpolate(smooth, size=(160, 224), mode="bicubic").clamp(0, 1)
    small = torch.nn.functional.interpolate(large, size=(80, 112), mode="area")
    one, other = LOOKS[name].function(small, 3, 0), LOOKS[name].function(large, 3, 0)
    other = torch.nn.functional.interpolate(other, size=(80, 112), mode="area")
    assert (one - other).abs().mean() < 0.04


def test_a_photograph_is_shown_under_every_look_by_its_share() -> None:
    import random
    from collections import Counter

    from eve_cli.data.looks import draw_look

    rng = random.Random(0)
    drawn = Counter(id(draw_look(rng)) for _ in range(4000))
    assert set(drawn) == {id(row) for row in LOOKS.values()}
    assert 2.5 < drawn[id(LOOKS["snowy"])] / drawn[id(LOOKS["sepia"])] < 6


def test_the_world_asks_for_the_looks_and_words_that_it_was_measured_with() -> None:
    from eve_cli.data.looks import world_styles

    assert world_styles() == [n for n, row in LOOKS.items() if row.task == "style" and row.in_world]
    assert {"overcast", "autumn", "oil painting", "vaporwave"}.isdisjoint(world_styles())


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_can_be_asked_for_in_many_ways(name: str) -> None:
    look = LOOKS[name]
    assert look.task in ("style", "global")
    assert len(set(look.instructions)) >= 8 and len({text.split()[0] for text in look.instructions}) >= 5
    assert len(set(look.captions)) >= 3


def test_no_two_looks_are_asked_for_with_the_same_words() -> None:
    texts = [text for look in LOOKS.values() for text in (*look.instructions, *look.synonyms)]
    assert len(texts) == len(set(texts))
