"""Fairy: anchors that all frames look at make them alike."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from eve_cli.editing.request import EditRequest
from eve_cli.errors import UsageError
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.fairy import Fairy, anchored
from eve_cli.methods.options import FairyOptions, MethodOptions, PerFrameOptions
from eve_cli.methods.per_frame import PerFrame
from eve_cli.models import attention
from eve_cli.models.editor import Editor
from tests.tiny import randomized, tiny_parts


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor(randomized(tiny_parts()))


def asked(options: MethodOptions) -> Guidance:
    return Guidance(
        "make it night", None, None, steps=3, guidance_scale=2.0, image_guidance_scale=1.0, seed=1, options=options
    )


def shot(frames: int = 6, seed: int = 3) -> Tensor:
    """Frames that differ a little from each other."""
    draw = torch.randn(frames + 1, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
    return draw[:1] + 0.5 * draw[1:]


def test_anchors_reduce_flicker() -> None:
    """Frames that show the same but for chance: what a frame sees of itself alone flickers with it."""
    draw = torch.randn(3, 7, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    query, key, value = draw[:, :1] + 0.5 * draw[:, 1:]

    def flicker(out: Tensor) -> float:
        return float((out[1:] - out[:-1]).square().mean())

    by_anchors = [flicker(anchored(count, 6)(query[:1].expand_as(key), key, value)) for count in (1, 2, 4)]
    alone = flicker(attention.plain(query[:1].expand_as(key), key, value))
    assert alone > 2 * by_anchors[0] > 2.5 * by_anchors[1] > 3 * by_anchors[2]


@torch.no_grad()
def test_anchors_change_what_a_frame_becomes(editor: Editor) -> None:
    source = shot()
    clip = Clip(source, source, range(len(source)), source[:0])
    alone = PerFrame().edit(editor, clip, asked(PerFrameOptions(shared_noise=True)))
    assert (Fairy().edit(editor, clip, asked(FairyOptions())) - alone).abs().max() > 1e-3
    still = Clip(source[:1].expand_as(source), source[:1].expand_as(source), range(6), source[:0])
    lone = PerFrame().edit(editor, still, asked(PerFrameOptions(shared_noise=True)))
    torch.testing.assert_close(Fairy().edit(editor, still, asked(FairyOptions())), lone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_windows_of_a_shot_are_those_of_the_whole_to_the_frame(editor: Editor) -> None:
    source = shot()
    whole = Fairy().edit(editor, Clip(source, source, range(6), source[:0]), asked(FairyOptions()))
    part = Clip(source[2:], source[2:], range(2, 6), whole[2:4], shot=lambda: source)
    torch.testing.assert_close(Fairy().edit(editor, part, asked(FairyOptions())), whole[2:], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_quickened_editor_does_the_same(editor: Editor) -> None:
    source = shot()
    clip = Clip(source, source, range(len(source)), source[:0])
    quick = Fairy().edit(Editor(editor.parts).optimize_for_inference(), clip, asked(FairyOptions()))
    torch.testing.assert_close(quick, Fairy().edit(editor, clip, asked(FairyOptions())), atol=1e-3, rtol=1e-3)


def test_a_frame_attends_to_itself_and_to_its_own_branch_s_anchors() -> None:
    query, key, value = torch.randn(3, 2 * 4, 2, 3, 5, generator=torch.Generator().manual_seed(0))
    out = anchored(2, 4)(query, key, value)
    for row in range(8):
        seen = [row, *(row // 4 * 4 + anchor for anchor in (0, 1))]
        keys, values = (torch.cat([part[i] for i in seen], 1) for part in (key, value))
        torch.testing.assert_close(out[row], attention.plain(query[row], keys, values))


@pytest.mark.parametrize("method", ["fairy", "tokenflow", "tune_a_video"])
def test_a_picture_is_refused(method: str) -> None:
    with pytest.raises(UsageError, match=rf"^--method {method} makes the frames of a video alike, and a\.png is a"):
        EditRequest(input="a.png", instruction="night", method=method)
