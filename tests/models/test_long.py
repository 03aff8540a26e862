"""Clips longer than the temporal layers see: windows that blend, in any portions, by any number of processes."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor

from eve_cli.models.editor import Editor
from eve_cli.models.inference.fast import Fast
from eve_cli.models.inference.sampling import ProcessGroup, Sampling, Windows
from tests.tiny import randomized, tiny_parts

FRAMES, T = 11, torch.tensor([700])


def editor() -> Editor:
    made = Editor(randomized(tiny_parts()), dtype=torch.float64)
    made.networks = Fast()
    return made


def student(editor: Editor, run: Sampling | None, frames: int = FRAMES) -> Tensor:
    """One guided step of a clip, with two keyframes where it is long."""
    drawn = torch.Generator().manual_seed(0)
    noisy, source = torch.randn(2, 1, frames, 4, 4, 4, generator=drawn, dtype=torch.float64)
    first = source[:, [0, 8]] if run is not None and len(run.keyframes) > 1 else source[:, 0]
    with torch.inference_mode():
        condition = editor.condition("make it snowy")
        denoise = editor.guided_student(
            condition.text, condition.instruction, source, first, guidance_scale=2.0, image_guidance_scale=1.5, run=run
        )
        return denoise(noisy, T)


@pytest.mark.parametrize("frames", [1, 4, 5, 7, 8, 9, 30])
@pytest.mark.parametrize(("length", "overlap"), [(4, 2), (4, 0), (5, 4), (8, 4)])
def test_windows_cover_every_frame_and_their_shares_are_one(frames: int, length: int, overlap: int) -> None:
    windows = Windows(length, overlap)
    tokens = torch.randn(2, frames, 3, dtype=torch.float64)
    starts = windows.starts(frames)
    assert starts[0] == 0 and starts == sorted(set(starts)) and starts[-1] == max(frames - length, 0)
    torch.testing.assert_close(windows.apply(torch.sin, tokens), torch.sin(tokens))


@torch.inference_mode()
def test_windows_are_those_of_diffusers_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same sum with plain networks, whose temporal layers are called window by window."""
    own, windows = editor(), Windows(4, 2)
    found = student(own, Sampling(windows=windows))
    whole = AnimateDiffTransformer3D.forward

    def forward(self, x: Tensor, *_, num_frames: int = 1, **__) -> Tensor:
        clips = x.unflatten(0, (-1, FRAMES))
        total, weight = torch.zeros_like(clips), torch.zeros(FRAMES, 1, 1, 1, dtype=x.dtype)
        share = torch.tensor([1.0, 2.0, 2.0, 1.0], dtype=x.dtype).view(4, 1, 1, 1)
        for start in (0, 2, 4, 6, 7):
            part = clips[:, start : start + 4]
            made = whole(self, part.flatten(0, 1), num_frames=4).unflatten(0, (-1, 4))
            total[:, start : start + 4] += (made - part) * share
            weight[start : start + 4] += share
        return (clips + total / weight).flatten(0, 1)

    plain = Editor(own.parts, dtype=torch.float64)
    monkeypatch.setattr(AnimateDiffTransformer3D, "forward", forward)
    torch.testing.assert_close(student(plain, None), found)


def test_a_clip_of_one_window_is_as_it_is_without_windows() -> None:
    own = editor()
    torch.testing.assert_close(student(own, Sampling(windows=Windows(4, 2)), 4), student(own, None, 4))


@pytest.mark.parametrize(("rows", "at_once", "together"), [(3, None, True), (None, 1, True), (5, 2, False)])
def test_portions_do_not_show(rows: int | None, at_once: int | None, together: bool) -> None:
    own = editor()
    wanted = student(own, Sampling(windows=Windows(4, 2), keyframes=(0, 8)))
    own.networks, own.in_one_batch = Fast(rows), together
    torch.testing.assert_close(student(own, Sampling(windows=Windows(4, 2, at_once), keyframes=(0, 8))), wanted)


def test_a_team_s_parts_are_all_frames_once() -> None:
    parts = [frame for rank in range(3) for frame in ProcessGroup(FRAMES, 0, 3).part(rank)]
    assert parts == list(range(FRAMES))
