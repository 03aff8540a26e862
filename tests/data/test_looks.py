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
    assert 0.05 < small.mean() < 0.15


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_can_be_asked_for_in_many_ways(name: str) -> None:
    look = LOOKS[name]
    assert look.task in ("style", "global")
    assert len(set(look.instructions)) >= 8 and len({text.split()[0] for text in look.instructions}) >= 5
    assert len(set(look.captions)) >= 3


def test_no_two_looks_are_asked_for_with_the_same_words() -> None:
    texts = [text for look in LOOKS.values() for text in look.instructions]
    assert len(texts) == len(set(texts))
