"""RAVE: frames as tiles, each back in its place, and more alike for having met."""

from __future__ import annotations

import pytest
import torch

from eve_cli.methods.base import Guidance
from eve_cli.methods.options import MethodOptions, PerFrameOptions, RaveOptions
from eve_cli.methods.per_frame import PerFrame
from eve_cli.methods.rave import Rave, cut, shuffled, tiled
from eve_cli.models.editor import Editor
from tests.tiny import randomized, tiny_clip, tiny_parts


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor(randomized(tiny_parts()))


def asked(options: MethodOptions) -> Guidance:
    return Guidance(
        "make it night", None, None, steps=2, guidance_scale=2.0, image_guidance_scale=1.0, seed=1, options=options
    )


def test_tiles_are_cut_as_they_were_put_together() -> None:
    frames = torch.randn(8, 3, 4, 5)
    pictures = tiled(frames, 2)
    assert pictures.shape == (2, 3, 8, 10) and torch.equal(cut(pictures, 2), frames)
    assert torch.equal(pictures[0, :, :4, 5:], frames[1]) and torch.equal(pictures[1, :, 4:, :5], frames[6])


def test_every_frame_is_there_and_meets_others_at_other_steps() -> None:
    orders = [shuffled(7, 4, seed) for seed in range(20)]
    assert all(len(order) == 8 and set(order) == set(range(7)) for order in orders)
    assert {frozenset(order[:4]) for order in orders} != {frozenset(orders[0][:4])}
    assert shuffled(7, 4, 5) == orders[5]


@torch.no_grad()
@pytest.mark.parametrize("frames", [3, 6])
def test_a_grid_of_one_is_every_frame_alone_and_a_larger_one_is_not(frames: int, editor: Editor) -> None:
    alone = PerFrame().edit(editor, tiny_clip(frames), asked(PerFrameOptions()))
    lone = Rave().edit(editor, tiny_clip(frames), asked(RaveOptions(grid=1)))
    torch.testing.assert_close(lone, alone, atol=1e-4, rtol=1e-4)
    together = Rave().edit(editor, tiny_clip(frames), asked(RaveOptions(grid=2)))
    assert torch.allclose(together, alone, atol=1e-4) == (frames < 4)
