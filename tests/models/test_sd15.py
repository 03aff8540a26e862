"""The sd15 layout in an editor: each part as diffusers joins them, and each at the timestep of its own schedule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNetMotionModel
from torch import Tensor

from eve_cli.alignment.teachers.edit import EditTeacher
from eve_cli.alignment.teachers.video import VideoTeacher
from eve_cli.diffusion.schedule import Schedule
from eve_cli.models.editor import Editor
from eve_cli.models.families import sd15
from eve_cli.models.parts import Parts
from tests.tiny import tiny_parts


@pytest.fixture(scope="module")
def parts() -> Parts:
    return sd15.random_parts("tiny")


@pytest.fixture
def editor(parts: Parts) -> Editor:
    return Editor(parts)


def clip(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_the_student_is_what_diffusers_parts_make_together(editor: Editor, parts: Parts) -> None:
    """UNetMotionModel, ControlNet at the matched timestep and SparseCtrl, called as diffusers' pipelines call them."""
    assert parts.video is not None and parts.edit is not None and parts.sparse is not None
    plain: Any = UNetMotionModel.from_unet2d(parts.backbone, parts.video.motion).eval().requires_grad_(False)
    noisy, first, frames = clip(0, 2, 3, 4, 8, 8), clip(1, 2, 4, 8, 8), clip(2, 2, 3, 3, 64, 64)
    text, order, t = clip(3, 2, 77, 32), clip(4, 2, 77, 32), torch.tensor([500, 120])
    words, orders = text.repeat_interleave(3, 0), order.repeat_interleave(3, 0)
    level = parts.schedule.matched(t, editor.image_schedule)
    control: Any = parts.edit
    down, mid = control(
        noisy.flatten(0, 1),
        level.repeat_interleave(3),
        encoder_hidden_states=orders,
        controlnet_cond=frames.flatten(0, 1),
        return_dict=False,
    )
    known, mask = torch.zeros(2, 4, 3, 8, 8), torch.zeros(2, 1, 3, 8, 8)
    known[:, :, 0], mask[:, :, 0] = first, 1
    sparse: Any = parts.sparse
    more, middle = sparse(
        noisy.transpose(1, 2),
        t,
        encoder_hidden_states=words,
        controlnet_cond=known,
        conditioning_mask=mask,
        return_dict=False,
    )
    noise = plain(
        noisy.transpose(1, 2),
        t,
        encoder_hidden_states=words,
        down_block_additional_residuals=[a + b for a, b in zip(down, more, strict=True)],
        mid_block_additional_residual=mid + middle,
    ).sample.transpose(1, 2)
    expected = editor.schedule.to_clean(noisy, noise, t)
    made = editor.clean_student(noisy, t, text, order, frames, first)
    assert (made - expected).abs().max() <= 1e-6 * expected.abs().max()
    assert not torch.allclose(made, editor.clean_student(noisy, t, text, order, frames, None), atol=1e-3)


@torch.no_grad()
def test_rows_behind_the_last_first_frame_run_without_one(editor: Editor) -> None:
    noisy, first, text, t = clip(0, 2, 3, 4, 8, 8), clip(1, 1, 4, 8, 8), clip(3, 2, 77, 32), torch.tensor([400, 400])
    both = editor.clean_video(noisy, t, text, first)
    assert torch.allclose(both[:1], editor.clean_video(noisy[:1], t[:1], text[:1], first), atol=1e-3)
    assert torch.allclose(both[1:], editor.clean_video(noisy[1:], t[1:], text[1:], None), atol=1e-3)


def test_the_same_noise_has_another_number_on_the_other_schedule(parts: Parts) -> None:
    own, image = parts.schedule, parts.image_schedule
    assert image is not None
    t = torch.tensor([50, 100, 300, 500, 800, 900, 950, 999])
    assert own.matched(t, image).tolist() == [57, 121, 374, 600, 901, 994, 999, 999]
    assert (own.alpha[t[:6]] - image.alpha[own.matched(t[:6], image)]).abs().max() < 2e-3
    assert own.matched(t, own) is t
    ends = Schedule.zero_snr().matched(torch.tensor([0, 999]), Schedule.zero_snr())
    assert ends.tolist() == [0, 999]


@torch.no_grad()
def test_each_network_is_told_the_timestep_that_it_learned(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(of: Parts) -> list[int]:
        editor, seen = Editor(of), []
        assert of.edit is not None
        of.edit.register_forward_pre_hook(lambda module, args: seen.append(int(args[1][0])))
        size = (4, 8, 8) if of is parts else (4, 4, 4)
        noisy, t = torch.randn(1, 2, *size), torch.tensor([500])
        condition = editor.condition("make it snowy")
        source = torch.rand(1, 2, 3, 64, 64) if editor.settings.control_image == "pixels" else torch.randn_like(noisy)
        editor.clean_student(noisy, t, condition.text, condition.instruction, source, noisy[:, 0])
        editor.clean_edit(noisy[0, :1], t, condition.text, condition.instruction, source[0, :1])
        return seen

    assert told(parts) == [600, 500]
    assert told(tiny_parts()) == [500, 500]


def test_teachers_noise_by_the_schedule_of_what_they_run_on(editor: Editor) -> None:
    assert EditTeacher(editor).schedule is editor.image_schedule
    assert VideoTeacher(editor).schedule is editor.schedule is not editor.image_schedule
    one = Editor(tiny_parts())
    assert EditTeacher(one).schedule is VideoTeacher(one).schedule is one.schedule


def test_errors_are_those_of_what_the_network_puts_out(parts: Parts) -> None:
    """An error of the clean latents, put as one of the output, is the output's own."""
    clean, noise, t = clip(0, 3, 4, 8, 8), clip(1, 3, 4, 8, 8), torch.tensor([100, 500, 990])
    for schedule in (parts.schedule, Schedule.zero_snr(), Schedule.zero_snr(prediction="x0")):
        noisy, output = schedule.add_noise(clean, noise, t), schedule.target(clean, noise, t)
        wrong = output + 0.1 * clip(2, 3, 4, 8, 8)
        error = schedule.of_output(schedule.to_clean(noisy, wrong, t) - clean, t)
        assert torch.allclose(error.abs(), (wrong - output).abs(), atol=1e-3)


@torch.no_grad()
def test_pixel_hints_are_the_frames_of_the_latents(editor: Editor) -> None:
    latents = editor.encode(torch.rand(3, 3, 64, 64))
    assert torch.equal(editor.control_image(latents), editor.decode(latents))
    other = Editor(tiny_parts())
    assert other.control_image(latents) is latents
