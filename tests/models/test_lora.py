"""A LoRA: in its own tree alone, in a folder, and in diffusers' own pipeline the same as here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from torch import Tensor

from eve_cli.diffusion.samplers import ddim
from eve_cli.diffusion.schedule import diffusers_config
from eve_cli.errors import ModelError, OutputError, UsageError
from eve_cli.models import alignment_lora, bundle, bundle_manifest, lora, low_rank
from eve_cli.models.editor import Editor
from eve_cli.models.lora import Lora
from eve_cli.models.parts import Parts
from eve_cli.storage.hashing import file_sha256
from tests.tiny import lora_weights, normal, randomized, tiny_bundle, tiny_parts

B, F, C, S = 2, 3, 4, 4
T = torch.tensor([999, 400])


@pytest.fixture(scope="module")
def parts() -> Parts:
    return randomized(tiny_parts())


@pytest.fixture(scope="module")
def toy(parts: Parts) -> Lora:
    return Lora(lora_weights(parts), "<toy>", "subject", "tiny", "0" * 64, {"steps": 3})


def outputs(editor: Editor, with_lora: bool) -> dict[str, Tensor]:
    clip, source, first = normal(B, F, C, S, S), normal(B, F, C, S, S, seed=1), normal(B, C, S, S, seed=2)
    text, instruction = editor.embed(["a red car", "a car"]), editor.embed_instruction(["make it night", "add a car"])
    frames = clip[:, 0]
    guided = editor.guided_edit(
        text, instruction, source[:, 0], guidance_scale=3.0, image_guidance_scale=1.5, with_lora=with_lora
    )
    return {
        "image": editor.clean_image(frames, T, text, with_lora=with_lora),
        "edit": editor.clean_edit(frames, T, text, instruction, source[:, 0], with_lora=with_lora),
        "guided image": editor.guided_image(text, 3.0, with_lora=with_lora)(frames, T),
        "guided edit": guided(frames, T),
        "video": editor.clean_video(clip, T, text, first),
        "student": editor.clean_student(clip, T, text, instruction, source, first),
    }


@torch.no_grad()
def test_a_lora_acts_in_its_own_tree_and_in_the_student_alone(parts: Parts, toy: Lora) -> None:
    plain, editor = Editor(parts), Editor(parts, weights=toy.weights)
    before, beside, with_it = outputs(plain, False), outputs(editor, False), outputs(editor, True)
    for name, value in before.items():
        assert torch.equal(beside[name], value) == (name != "student")
        assert torch.equal(with_it[name], value) == (name == "video")
        assert torch.equal(outputs(plain, True)[name], value)
    assert torch.equal(beside["student"], with_it["student"])
    assert plain.lora_unet is plain.backbone
    owned = {id(p) for _, module in parts.modules() for p in module.parameters()}
    extra = [name for name, p in editor.lora_unet.named_parameters() if id(p) not in owned]
    assert len(extra) == len(toy.weights) and all("lora" in name for name in extra)
    assert not any(p.requires_grad for p in editor.lora_unet.parameters())


@torch.no_grad()
def test_a_lora_and_the_alignment_act_together(parts: Parts, toy: Lora) -> None:
    """Low-rank layers add: two of them in one tree are one of twice the rank."""
    other = lora_weights(parts, seed=8)
    both = Editor(Parts(**{**vars(parts), "align": other}), weights=toy.weights)
    joined = {
        name: torch.cat([tensor, other[name]], dim=0 if "lora_A" in name else 1) for name, tensor in toy.weights.items()
    }
    one = Editor(parts, weights=joined)
    assert torch.allclose(outputs(both, True)["student"], outputs(one, True)["student"], atol=1e-5)
    assert not torch.allclose(outputs(both, True)["student"], outputs(Editor(parts), True)["student"], atol=1e-3)


def test_behind_a_lora_the_alignment_alone_can_learn(parts: Parts, toy: Lora) -> None:
    editor = Editor(parts, weights=toy.weights)
    assert editor.student is not None
    thawed = {id(p) for p in alignment_lora.add(editor.student, rank=2)}
    learning = {id(p) for p in editor.student.parameters() if p.requires_grad}
    assert learning == thawed
    editor.student.train()
    assert len(low_rank.parameters(editor.student, lora.ADAPTER)) == len(toy.weights)


@torch.no_grad()
def test_diffusers_pipeline_takes_it_as_it_is(parts: Parts, toy: Lora, tmp_path: Path) -> None:
    path = lora.save(toy, tmp_path / "toy")
    editor = Editor(parts, weights=lora.load(path).weights)
    settings = DDIMScheduler.from_config({**diffusers_config(parts.schedule), "timestep_spacing": "trailing"})
    theirs = bundle.load(tiny_bundle(tmp_path / "model"))  # parts of its own, since the pipeline changes them
    for name in ("backbone", "text_encoder", "vae"):
        getattr(theirs, name).load_state_dict(getattr(parts, name).state_dict())
    pipe = StableDiffusionPipeline(
        vae=theirs.vae,  # pyright: ignore
        text_encoder=theirs.text_encoder,
        tokenizer=theirs.tokenizer,
        unet=theirs.backbone,
        scheduler=settings,  # pyright: ignore
        safety_checker=None,  # pyright: ignore
        feature_extractor=None,  # pyright: ignore
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    noise, text = normal(1, C, S, S), editor.embed(["a red car"])

    def made() -> Tensor:
        chosen = {"num_inference_steps": 4, "guidance_scale": 1.0, "output_type": "latent"}
        return pipe(prompt_embeds=text, latents=noise.clone(), **chosen).images  # pyright: ignore

    before = made()
    pipe.load_lora_weights(path)
    after = made()
    t = T[:1]
    ours = editor.lora_unet(noise, t, text).sample
    assert torch.equal(pipe.unet(noise, t, text).sample, ours)
    assert not torch.allclose(ours, editor.backbone(noise, t, text).sample, atol=1e-2)
    steps = editor.schedule.trailing(4)
    assert torch.allclose(before, ddim(editor.guided_image(text, 1.0), editor.schedule, noise, steps), atol=1e-4)
    with_lora = editor.guided_image(text, 1.0, with_lora=True)
    assert torch.allclose(after, ddim(with_lora, editor.schedule, noise, steps), atol=1e-4)
    assert not torch.allclose(after, before, atol=1e-2)


def test_a_folder_keeps_it(toy: Lora, tmp_path: Path) -> None:
    path = lora.save(toy, tmp_path / "toy")
    found = lora.load(path)
    assert found.weights.keys() == toy.weights.keys() and found.rank == 2
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in toy.weights.items())
    assert dataclasses.replace(found, weights=toy.weights, sha256="") == toy
    assert found.sha256 == file_sha256(path / lora.WEIGHTS)
    assert json.loads((path / lora.CARD).read_text())["rank"] == 2
    lora.save(dataclasses.replace(toy, token="<car>"), path)
    assert lora.load(path).token == "<car>" and [p.name for p in tmp_path.iterdir()] == ["toy"]
    with pytest.raises(OutputError, match="is not a LoRA"):
        lora.save(toy, tmp_path)


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda path: (path / name).write_text(text)


def no_folder(path: Path) -> None:
    path.rename(path.with_name("away"))


def swap(path: Path) -> None:
    file = path / lora.WEIGHTS
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (no_folder, "There is no LoRA at"),
        (lambda path: (path / lora.CARD).unlink(), "has no lora.json"),
        (write(lora.CARD, "{"), "cannot be read"),
        (write(lora.CARD, "[]"), "not of the format eve-lora"),
        (write(lora.CARD, '{"format": "eve-lora", "version": 9}'), "of version 9"),
        (write(lora.CARD, '{"format": "eve-lora", "version": 1}'), "does not say what the LoRA is for"),
        (lambda path: (path / lora.WEIGHTS).unlink(), "pytorch_lora_weights.safetensors is missing"),
        (swap, "is damaged"),
    ],
)
def test_what_is_wrong_is_one_sentence(harm: Callable[[Path], object], text: str, toy: Lora, tmp_path: Path) -> None:
    path = lora.save(toy, tmp_path / "toy")
    harm(path)
    with pytest.raises(ModelError, match=text) as caught:
        lora.load(path)
    assert "\n" not in str(caught.value) and "toy" in str(caught.value)


def test_another_backbone_is_refused_and_both_are_named(toy: Lora, tmp_path: Path) -> None:
    manifest = bundle_manifest.read(tiny_bundle(tmp_path / "model"))
    file = tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    assert manifest.backbone == file_sha256(file)
    dataclasses.replace(toy, backbone=manifest.backbone).check_fits(Path("toy"), "model", manifest)
    with pytest.raises(ModelError, match=r"made for tiny \(backbone 000000000000….*, and other has another"):
        toy.check_fits(Path("toy"), "other", manifest)


def test_weights_that_do_not_fit_are_refused(parts: Parts, toy: Lora) -> None:
    with pytest.raises(ModelError, match="does not fit"):
        Editor(parts, weights={name.replace("down_blocks", "low_blocks"): t for name, t in toy.weights.items()})
    with pytest.raises(ModelError, match="no low-rank weights"):
        Editor(parts, weights={})


def test_a_folder_with_other_shapes_or_numbers_is_refused(parts: Parts, toy: Lora, tmp_path: Path) -> None:
    wide = {
        name: torch.cat([tensor, tensor], -1) if name.endswith(low_rank.DOWN) else tensor
        for name, tensor in toy.weights.items()
    }
    path = lora.save(dataclasses.replace(toy, weights=wide), tmp_path / "toy")
    with pytest.raises(
        ModelError, match=r"The LoRA <toy>: the down weights of .* have the shape 2×.*, and this model's"
    ):
        lora.joined([lora.load(path)], [1.0], parts)
    with pytest.raises(UsageError, match="the scale must be a finite number"):
        lora.parse("toy:nan")


def test_the_token_is_no_word(toy: Lora) -> None:
    assert toy.words("Put <TOY> on the beach, <toy>").split() == ["put", "on", "the", "beach,"]
