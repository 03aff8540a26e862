"""TokenFlow: what keyframes get goes where the source says, exactly where nothing moves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.options import TokenFlowOptions
from eve_cli.methods.tokenflow import TokenFlow, flow, joint, keyframes, propagated
from eve_cli.models import attention
from eve_cli.models.editor import Editor
from tests.tiny import randomized, tiny_parts


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor(randomized(tiny_parts()))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(editor: Editor, source: Tensor, held: int = 0, **options: int) -> Tensor:
    told = TokenFlowOptions("a red car", **options)  # type: ignore[arg-type]
    guidance = Guidance(
        "", "the night", None, steps=6, guidance_scale=3.0, image_guidance_scale=1.0, seed=1, options=told
    )
    return TokenFlow().edit(editor, Clip(source, source, range(len(source)), source[:held] + 1), guidance)


@torch.no_grad()
def test_on_a_still_clip_propagation_is_exact(editor: Editor) -> None:
    """All frames become what the keyframes become, and those what they become without any other frame."""
    still = random(1, 4, 4, 4).expand(6, -1, -1, -1)
    clip = made(editor, still, stride=3)
    assert (clip - still).abs().max() > 0.1
    torch.testing.assert_close(clip, clip[:1].expand_as(clip), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(clip[:2], made(editor, still[:2], stride=1), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_later_windows_hold_to_their_overlap(editor: Editor) -> None:
    moving = random(6, 4, 4, 4)
    apart, held = made(editor, moving, stride=3), made(editor, moving, held=2, stride=3)
    assert (held[:2] - moving[:2] - 1).abs().mean() < (apart[:2] - moving[:2] - 1).abs().mean()


def test_places_that_move_take_their_tokens_with_them() -> None:
    """Frame f is frame 0 with its places turned by f; whatever keyframes have, it turns along."""
    first, edit = random(2, 7, 3), random(1, 2, 7, 3, seed=1)
    source = torch.stack([first.roll(frame, 1) for frame in range(5)])
    keys = [0, 3]
    out = flow(source, torch.stack([edit.roll(key, 2) for key in keys], 1), keys)
    torch.testing.assert_close(out, torch.stack([edit.roll(frame, 2) for frame in range(5)], 1))


def test_between_keyframes_the_nearer_counts_more() -> None:
    source, two = (
        random(1, 1, 4, 3).expand(5, -1, -1, -1),
        torch.stack([torch.zeros(1, 1, 4, 3), torch.ones(1, 1, 4, 3)], 1),
    )
    shares = flow(source, two, [0, 3])[0].mean((1, 2, 3))
    assert shares[0] == 0 and shares[3] == shares[4] == 1 and 0.2 < shares[1] < 0.3 and 0.7 < shares[2] < 0.8


def test_the_source_is_as_ever_and_keyframes_see_each_other() -> None:
    query, key, value = random(3, 3 * 4, 2, 5, 3)
    out = propagated([1, 2], 4, shares=False)(query, key, value)
    torch.testing.assert_close(out[:4], attention.plain(query[:4], key[:4], value[:4]))
    both = joint(query[5:7], key[5:7], value[5:7])
    torch.testing.assert_close(out[5:7], both)
    keys, values = (torch.cat([part[5], part[6]], 1) for part in (key, value))
    torch.testing.assert_close(both[1], attention.plain(query[6], keys, values))
    shared = propagated([1, 2], 4, shares=True)(query, key, value)
    torch.testing.assert_close(shared[5:7], joint(query[1:3], key[1:3], value[5:7]))


def test_each_stretch_has_a_keyframe_and_steps_have_others() -> None:
    chosen = [keyframes(10, 4, str(step)) for step in range(50)]
    assert all([key // 4 for key in keys] == [0, 1, 2] for keys in chosen)
    assert {key for keys in chosen for key in keys} == set(range(10))
