"""The editor: one set of weights, four functions, each equal to plain diffusers models."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusers import UNet2DConditionModel, UNetMotionModel
from torch import Tensor, nn

from eve_cli.errors import ModelError
from eve_cli.models import alignment_lora
from eve_cli.models.adapters import without_labels
from eve_cli.models.editor import Editor
from eve_cli.models.parts import BundleSettings, Parts
from eve_cli.tasks import UNKNOWN_TASK
from tests.tiny import normal, randomized, tiny_parts

B, F, C, S = 2, 3, 4, 4
T = torch.tensor([999, 400])


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor(randomized(tiny_parts(own_instruction_encoder=True)))


@pytest.fixture(scope="module")
def inputs(editor: Editor) -> dict[str, Tensor]:
    with torch.no_grad():
        return {
            "clip": normal(B, F, C, S, S),
            "source": normal(B, F, C, S, S, seed=1),
            "first": normal(B, C, S, S, seed=2),
            "text": editor.embed(["a red car", "make it snowy"]),
            "instruction": editor.embed_instruction(["add a car", "make it night"]),
            "task": torch.tensor([0, 6]),
        }


def residuals(editor: Editor, x: dict[str, Tensor], noisy: Tensor, t: Tensor, rows: Tensor) -> dict[str, object]:
    assert editor.parts.edit is not None
    down, mid = editor.parts.edit(
        noisy, t, x["instruction"][rows], x["source"].flatten(0, 1), class_labels=x["task"][rows], return_dict=False
    )
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}


def plain_motion(editor: Editor) -> UNetMotionModel:
    """diffusers' own model, with copies of all weights."""
    assert editor.parts.video is not None
    backbone = UNet2DConditionModel.from_config(editor.backbone.config)
    assert isinstance(backbone, UNet2DConditionModel)
    backbone.load_state_dict(editor.backbone.state_dict())
    tree = UNetMotionModel.from_unet2d(backbone, copy.deepcopy(editor.parts.video.motion))
    assert isinstance(tree, UNetMotionModel)
    return tree.eval()


@torch.no_grad()
def test_image_and_edit_are_plain_diffusers_models(editor: Editor, inputs: dict[str, Tensor]) -> None:
    noisy, t, rows = inputs["clip"].flatten(0, 1), T.repeat_interleave(F), torch.arange(B).repeat_interleave(F)
    text, instruction, task = inputs["text"][rows], inputs["instruction"][rows], inputs["task"][rows]
    out = editor.backbone(noisy, t, text).sample
    assert torch.equal(editor.clean_image(noisy, t, text), editor.schedule.to_clean(noisy, out, t))
    out = editor.backbone(noisy, t, text, **residuals(editor, inputs, noisy, t, rows)).sample
    edited = editor.clean_edit(noisy, t, text, instruction, inputs["source"].flatten(0, 1), task)
    assert torch.equal(edited, editor.schedule.to_clean(noisy, out, t))
    assert not torch.equal(edited, editor.clean_image(noisy, t, text))


@torch.no_grad()
def test_video_and_student_are_plain_diffusers_models(editor: Editor, inputs: dict[str, Tensor]) -> None:
    rows = torch.arange(B).repeat_interleave(F)
    plain = plain_motion(editor)
    noisy, text = inputs["clip"], inputs["text"][rows]
    out = plain(noisy.transpose(1, 2), T, text).sample.transpose(1, 2)
    found = editor.clean_video(noisy, T, inputs["text"], None)
    assert torch.equal(found, editor.schedule.to_clean(noisy, out, T))
    extra = residuals(editor, inputs, noisy.flatten(0, 1), T.repeat_interleave(F), rows)
    out = plain(noisy.transpose(1, 2), T, text, **extra).sample.transpose(1, 2)
    arguments = (inputs["text"], inputs["instruction"], inputs["source"], None, inputs["task"])
    assert torch.equal(editor.clean_student(noisy, T, *arguments), editor.schedule.to_clean(noisy, out, T))


@torch.no_grad()
@pytest.mark.parametrize("form", ["repeat", "zero_pad"])
def test_a_first_frame_is_one_wider_first_convolution(form: str, inputs: dict[str, Tensor]) -> None:
    editor = Editor(randomized(tiny_parts(settings=BundleSettings(first_frame=form))))  # pyright: ignore
    assert editor.parts.video is not None
    plain, weight = plain_motion(editor), editor.parts.video.first.weight
    wide = nn.Conv2d(2 * C + 1, weight.shape[0], 3, padding=1)
    wide.weight.data, wide.bias = torch.cat([plain.conv_in.weight, weight], dim=1), plain.conv_in.bias
    plain.conv_in = wide
    mask = torch.zeros(B, F, 1, S, S)
    mask[:, 0] = 1
    frames = inputs["first"][:, None].repeat(1, F, 1, 1, 1)
    frames = frames if form == "repeat" else torch.cat([frames[:, :1], torch.zeros_like(frames[:, 1:])], dim=1)
    stacked = torch.cat([inputs["clip"], frames, mask], dim=2).transpose(1, 2)
    out = plain(stacked, T, inputs["text"].repeat_interleave(F, 0)).sample.transpose(1, 2)
    found = editor.clean_video(inputs["clip"], T, inputs["text"], inputs["first"])
    assert torch.allclose(found, editor.schedule.to_clean(inputs["clip"], out, T), atol=1e-5)
    assert not torch.allclose(found, editor.clean_video(inputs["clip"], T, inputs["text"], None), atol=1e-3)


@torch.no_grad()
def test_fresh_adapters_change_nothing(inputs: dict[str, Tensor]) -> None:
    editor = Editor(tiny_parts())
    text, instruction, task = inputs["text"], inputs["instruction"], inputs["task"]
    noisy = inputs["clip"]
    alone = torch.stack([editor.clean_image(noisy[:, i], T, text) for i in range(F)], dim=1)
    assert torch.equal(editor.clean_edit(noisy[:, 0], T, text, instruction, inputs["source"][:, 0], task), alone[:, 0])
    video = editor.clean_video(noisy, T, text, inputs["first"])
    assert torch.allclose(video, alone, atol=1e-5)
    student = editor.clean_student(noisy, T, text, instruction, inputs["source"], inputs["first"], task)
    assert torch.equal(student, video)


def test_nothing_is_there_twice(editor: Editor) -> None:
    assert editor.video is not None and editor.student is not None
    owned = {id(p) for _, module in editor.parts.modules() for p in module.parameters()}
    seen = {id(p) for tree in (editor.backbone, editor.video, editor.student) for p in tree.parameters()}
    assert seen < owned
    storages = {p.untyped_storage().data_ptr() for _, module in editor.parts.modules() for p in module.parameters()}
    assert len(storages) == len(owned)
    assert all(not p.is_meta for tree in (editor.video, editor.student) for p in (*tree.parameters(), *tree.buffers()))


def test_moving_the_editor_moves_every_tree() -> None:
    editor = Editor(tiny_parts(), dtype=torch.float64)
    assert editor.student is not None
    assert {p.dtype for p in (*editor.student.parameters(), *editor.student.buffers())} == {torch.float64}
    noisy = normal(1, F, C, S, S)
    condition = editor.condition("make it snowy")
    out = editor.clean_student(noisy, T[:1], condition.text, condition.instruction, noisy, noisy[:, 0])
    assert out.dtype == torch.float64


@pytest.mark.parametrize("trained", ["edit", "video", "align"])
def test_gradients_reach_what_is_thawed_and_nothing_else(trained: str, inputs: dict[str, Tensor]) -> None:
    editor = Editor(randomized(tiny_parts()))
    assert editor.student is not None
    if trained == "align":
        thawed = alignment_lora.add(editor.student, rank=2)
        for parameter in thawed:
            parameter.data = torch.full_like(parameter, 0.05)
    else:
        thawed = list(getattr(editor.parts, trained).requires_grad_(True).parameters())
    arguments = (inputs["text"], inputs["instruction"], inputs["source"], inputs["first"], inputs["task"])
    editor.clean_student(inputs["clip"], T, *arguments).square().mean().backward()
    wanted = {id(p) for p in thawed}
    everything = [p for _, module in editor.parts.modules() for p in module.parameters()]
    everything += list(editor.student.parameters())
    assert all((p.grad is not None) == (id(p) in wanted) for p in everything)


@torch.no_grad()
def test_low_rank_layers_are_in_the_student_alone(inputs: dict[str, Tensor]) -> None:
    parts = randomized(tiny_parts())
    editor = Editor(parts)
    assert editor.student is not None
    arguments = (inputs["text"], inputs["instruction"], inputs["source"], inputs["first"], inputs["task"])
    video = editor.clean_video(inputs["clip"], T, inputs["text"], inputs["first"])
    before = editor.clean_student(inputs["clip"], T, *arguments)
    thawed = alignment_lora.add(editor.student, rank=2, where="attention+mlp")
    assert torch.equal(editor.clean_student(inputs["clip"], T, *arguments), before)
    for parameter in thawed:
        parameter.data = normal(*parameter.shape, seed=9) * 0.1
    aligned = editor.clean_student(inputs["clip"], T, *arguments)
    assert not torch.allclose(aligned, before, atol=1e-3)
    assert torch.equal(editor.clean_video(inputs["clip"], T, inputs["text"], inputs["first"]), video)
    again = Editor(Parts(**{**vars(parts), "align": alignment_lora.weights(editor.student)}))
    assert torch.equal(again.clean_student(inputs["clip"], T, *arguments), aligned)


@torch.no_grad()
def test_rows_behind_the_source_and_the_first_frame_run_without(editor: Editor, inputs: dict[str, Tensor]) -> None:
    arguments = (inputs["text"], inputs["instruction"])
    some = editor.clean_student(
        inputs["clip"], T, *arguments, inputs["source"][:1], inputs["first"][:1], inputs["task"]
    )
    both = editor.clean_student(inputs["clip"], T, *arguments, inputs["source"], inputs["first"], inputs["task"])
    none = editor.clean_video(inputs["clip"], T, inputs["text"], None)
    assert torch.allclose(some, torch.cat([both[:1], none[1:]]), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ("guidance_scale", "image_guidance_scale"), [(1.0, 1.0), (3.0, 1.0), (2.0, 2.0), (4.0, 1.5), (0.0, 0.0)]
)
def test_guidance_is_the_formula_over_single_calls(
    editor: Editor, inputs: dict[str, Tensor], guidance_scale: float, image_guidance_scale: float
) -> None:
    clip, source, first = inputs["clip"], inputs["source"], inputs["first"]
    text, instruction, task = inputs["text"], inputs["instruction"], inputs["task"]
    blank, silent = editor.embed([""] * B), editor.embed_instruction([""] * B)
    full = editor.clean_student(clip, T, text, instruction, source, first, task)
    seen = editor.clean_student(clip, T, blank, silent, source, first, torch.full_like(task, UNKNOWN_TASK))
    none = editor.clean_video(clip, T, blank, first)
    guided = editor.guided_student(
        text, instruction, source, first, task, guidance_scale=guidance_scale, image_guidance_scale=image_guidance_scale
    )
    expected = none + image_guidance_scale * (seen - none) + guidance_scale * (full - seen)
    assert torch.allclose(guided(clip, T), expected, atol=1e-4)


@torch.no_grad()
def test_guidance_of_the_other_functions(editor: Editor, inputs: dict[str, Tensor]) -> None:
    noisy, source, first = inputs["clip"][:, 0], inputs["source"][:, 0], inputs["first"]
    text, instruction = inputs["text"], inputs["instruction"]
    blank, silent = editor.embed([""] * B), editor.embed_instruction([""] * B)
    none, full = editor.clean_image(noisy, T, blank), editor.clean_image(noisy, T, text)
    assert torch.allclose(editor.guided_image(text, 3.0)(noisy, T), none + 3 * (full - none), atol=1e-4)
    edited = editor.clean_edit(noisy, T, text, instruction, source)
    seen = editor.clean_edit(noisy, T, blank, silent, source)
    guided = editor.guided_edit(text, instruction, source, guidance_scale=3.0, image_guidance_scale=2.0)
    assert torch.allclose(guided(noisy, T), none + 2 * (seen - none) + 3 * (edited - seen), atol=1e-4)
    clip = inputs["clip"]
    calm, told = editor.clean_video(clip, T, blank, first), editor.clean_video(clip, T, text, first)
    assert torch.allclose(
        editor.guided_video(text, first, guidance_scale=3.0)(clip, T), calm + 3 * (told - calm), atol=1e-4
    )


@torch.no_grad()
def test_an_adapter_without_labels_is_the_labelled_one(editor: Editor, inputs: dict[str, Tensor]) -> None:
    assert editor.parts.edit is not None
    noisy, text, instruction, source = (
        inputs["clip"][:, 0],
        inputs["text"],
        inputs["instruction"],
        inputs["source"][:, 0],
    )
    plain = Editor(Parts(**{**vars(editor.parts), "edit": without_labels(editor.parts.edit, task=6)}))
    assert torch.allclose(
        plain.clean_edit(noisy, T, text, instruction, source),
        editor.clean_edit(noisy, T, text, instruction, source, torch.full((B,), 6)),
        atol=1e-5,
    )


def test_what_is_missing_is_said() -> None:
    editor = Editor(tiny_parts(edit=False, video=False))
    noisy, text = normal(1, F, C, S, S), editor.embed(["a car"])
    with pytest.raises(ModelError, match="tiny has no video adapter"):
        editor.clean_video(noisy, T[:1], text, None)
    with pytest.raises(ModelError, match="tiny has no edit adapter"):
        editor.clean_edit(noisy[0], T[:1].expand(F), text, text, noisy[0])


@torch.no_grad()
def test_texts_are_read_as_the_bundle_says() -> None:
    def texts(convention: str, caption: str | None) -> list[Tensor]:
        settings = BundleSettings(edit_text=convention)  # pyright: ignore
        editor = Editor(tiny_parts(settings=settings, video=False))
        condition = editor.condition("make it snowy", caption)
        known = {text: editor.embed([text]) for text in ("make it snowy", "a red car")}
        return [
            next(text for text, embedding in known.items() if torch.equal(part, embedding))
            for part in (condition.text, condition.instruction)
        ]

    assert texts("split", "a red car") == ["a red car", "make it snowy"]
    assert texts("split", None) == ["make it snowy", "make it snowy"]
    assert texts("instruction", "a red car") == ["make it snowy", "make it snowy"]
    assert texts("caption", "a red car") == ["a red car", "a red car"]
    assert texts("caption", None) == ["make it snowy", "make it snowy"]


def test_a_text_that_is_too_long_is_noticed(editor: Editor) -> None:
    assert editor.unread("make it snowy") == editor.unread("a " * 22) == editor.unread("") == ""
    assert editor.unread("a " * 20 + "red car, make it snowy") == "make it snowy"
    assert editor.unread("a " * 21 + "zebra") == "zebra", "a word that is read in part is not read"
    assert len(editor.unread("雪" * 30)) > 15, "a text without spaces is cut inside"


def test_unknown_words_are_named_in_order(editor: Editor) -> None:
    assert editor.unknown_words("Make the ZEBRA snowy, and a blue zebra!") == ["zebra", "blue"]
    assert Editor(Parts(**{**vars(editor.parts), "settings": BundleSettings()})).unknown_words("zebra") == []


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("❄️", ["❄️"]),
        ("make it 🌧️ snowy", ["🌧️"]),
        ("add a red car!", []),
        ('"night", (snowy) - 2.5%', []),
        ("123", ["123"]),
        ("?!", ["?!"]),
        ("雪 снег", ["雪", "снег"]),
    ],
)
def test_symbols_count_as_words_and_punctuation_does_not(editor: Editor, text: str, unknown: list[str]) -> None:
    assert editor.unknown_words(text) == unknown


@torch.no_grad()
def test_pixels_to_latents_and_back(editor: Editor) -> None:
    frames = torch.rand(F, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    latents = editor.encode(frames)
    assert latents.shape == (F, C, *editor.latent_size(32, 48)) == (F, C, 4, 6)
    decoded = editor.decode(latents)
    assert decoded.shape == frames.shape and decoded.min() >= 0 and decoded.max() <= 1
    vae = editor.parts.vae
    posterior = vae.encode(frames * 2 - 1).latent_dist  # pyright: ignore
    assert torch.equal(latents, posterior.mean)
    with pytest.raises(ValueError, match="36x32 do not divide by 8"):
        editor.latent_size(32, 36)
