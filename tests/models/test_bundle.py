"""Bundles: build, save, load, compare; and one sentence for everything that can be wrong with one."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import (
    AnimateDiffControlNetPipeline,
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    MotionAdapter,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTokenizer

from eve_cli.diffusion.samplers import ddim
from eve_cli.errors import ModelError, OutOfMemory, OutputError
from eve_cli.models import alignment_lora, bundle, bundle_manifest
from eve_cli.models.adapters import without_labels
from eve_cli.models.editor import Editor
from eve_cli.models.parts import BundleSettings, Parts
from eve_cli.models.presets import PRESETS
from tests.tiny import tiny_bundle, tiny_parts

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with every part."""
    parts = tiny_parts(own_instruction_encoder=True)
    editor = Editor(parts)
    assert editor.student is not None
    for parameter in alignment_lora.add(editor.student, rank=2):
        parameter.data = torch.full_like(parameter, 0.05)
    parts.align = alignment_lora.weights(editor.student)
    path = tmp_path_factory.mktemp("bundles") / "whole"
    return bundle.save(parts, path, training={"steps": 5}, scores={"world": 0.5})


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copied"))


@torch.no_grad()
def test_loading_gives_what_was_saved(whole: Path) -> None:
    saved, loaded = tiny_parts(own_instruction_encoder=True), bundle.load(whole)
    assert [name for name, _ in saved.modules()] == [name for name, _ in loaded.modules()]
    for (_, module), (_, other) in zip(saved.modules(), loaded.modules(), strict=True):
        state, found = module.state_dict(), other.state_dict()
        assert state.keys() == found.keys()
        for name, value in state.items():
            assert found[name].dtype == value.dtype
            assert torch.equal(found[name], value.half().float() if value.is_floating_point() else value)
        assert not any(p.requires_grad for p in other.parameters()) and not other.training
    assert loaded.settings == saved.settings
    assert torch.equal(loaded.schedule.alpha, saved.schedule.alpha)
    text = "make it snowy, zebra"
    assert loaded.tokenizer(text).input_ids == saved.tokenizer(text).input_ids
    assert loaded.align is not None and len(loaded.align) > 0


@torch.no_grad()
def test_an_editor_of_a_saved_bundle_computes_the_same(whole: Path, tmp_path: Path) -> None:
    first = Editor(bundle.load(whole))
    second = Editor.load(bundle.save(first.parts, tmp_path / "again", dtype=torch.float32))
    noisy, t = torch.randn(1, 3, 4, 4, 4), torch.tensor([700])
    condition = first.condition("make it snowy")
    arguments = (condition.text, condition.instruction, noisy, noisy[:, 0])
    assert torch.equal(first.clean_student(noisy, t, *arguments), second.clean_student(noisy, t, *arguments))
    plain = Editor(bundle.load(whole, parts=("edit", "video")))
    assert plain.parts.align is None and plain.parts.instruction_encoder is None
    assert not torch.equal(first.clean_student(noisy, t, *arguments), plain.clean_student(noisy, t, *arguments))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("vae", AutoencoderKL),
        ("unet", UNet2DConditionModel),
        ("controlnet", ControlNetModel),
        ("motion_adapter", MotionAdapter),
        ("scheduler", DDIMScheduler),
        ("text_encoder", CLIPTextModel),
        ("instruction_encoder", CLIPTextModel),
        ("tokenizer", CLIPTokenizer),
    ],
)
def test_each_part_loads_with_its_own_library(whole: Path, name: str, kind: type) -> None:
    assert isinstance(kind.from_pretrained(whole / name), kind)  # pyright: ignore


@torch.no_grad()
def test_the_pipeline_of_diffusers_makes_the_same_clip(tmp_path: Path) -> None:
    parts = tiny_parts()
    assert parts.edit is not None
    for parameter in parts.edit.controlnet_mid_block.parameters():
        parameter.data.fill_(0.05)
    editor = Editor.load(bundle.save(parts, tmp_path / "model"))
    assert editor.parts.edit is not None
    pipeline = AnimateDiffControlNetPipeline.from_pretrained(tmp_path / "model")
    pipeline.controlnet = without_labels(editor.parts.edit)
    pipeline.set_progress_bar_config(disable=True)
    noise, source = (torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    text = editor.embed(["make it snowy"])
    theirs = pipeline(
        prompt_embeds=text,
        num_frames=3,
        height=32,
        width=32,
        num_inference_steps=4,
        guidance_scale=1.0,
        latents=noise.transpose(1, 2),
        conditioning_frames=list(source[0]),
        output_type="latent",
    ).frames
    denoise = editor.guided_student(text, text, source, None, guidance_scale=1, image_guidance_scale=1)
    ours = ddim(denoise, editor.schedule, noise, editor.schedule.trailing(4))
    assert torch.allclose(ours, theirs.transpose(1, 2), atol=1e-5)
    untouched = ddim(
        editor.guided_video(text, None, guidance_scale=1), editor.schedule, noise, editor.schedule.trailing(4)
    )
    assert not torch.allclose(ours, untouched, atol=1e-2)


def test_the_folder_loads_as_a_pipeline_with_its_alignment(whole: Path) -> None:
    pipeline = AnimateDiffControlNetPipeline.from_pretrained(whole)
    before = {name: p.detach().clone() for name, p in pipeline.unet.named_parameters()}
    pipeline.load_lora_weights(whole / "align", weight_name=bundle.ALIGN)
    pipeline.fuse_lora(components=["unet"])
    pipeline.unload_lora_weights()
    after = dict(pipeline.unet.named_parameters())
    changed = [name for name, value in before.items() if not torch.equal(after[name], value)]
    assert changed and all("attentions" in name for name in changed)
    key = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    weights = bundle.load(whole).align
    assert weights is not None
    delta = weights[f"{key}.lora_B.weight"] @ weights[f"{key}.lora_A.weight"]
    assert torch.allclose(after[f"{key}.weight"] - before[f"{key}.weight"], delta, atol=1e-3)


def test_the_manifest_tells_of_parts_training_and_scores(whole: Path) -> None:
    manifest = bundle.verify(whole)
    assert set(bundle_manifest.FOLDERS) - set(manifest.parts) == {
        "sparse",
        "domain",
        "image_schedule",
    }  # of larger models
    assert manifest.training == {"steps": 5} and manifest.scores == {"world": 0.5}
    assert manifest.bytes == sum(file.stat().st_size for file in whole.rglob("*.*") if file.name != "bundle.json")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content)


def change_manifest(path: Path, **changes: object) -> None:
    content = json.loads((path / "bundle.json").read_text())
    (path / "bundle.json").write_text(json.dumps(content | changes))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped byte": (lambda path: flip(path / WEIGHTS), "is damaged"),
    "a truncated file": (lambda path: cut(path / WEIGHTS), "bytes and should have"),
    "a missing file": (lambda path: (path / WEIGHTS).unlink(), "is missing"),
    "a missing part": (lambda path: shutil.rmtree(path / "vae"), "is missing"),
    "a pickle": (lambda path: (path / "unet" / "model.bin").write_bytes(b"x"), "pickle file"),
    "a pickle beside": (lambda path: (path / "extra.ckpt").write_bytes(b"x"), "pickle file"),
    "a foreign file": (lambda path: (path / "unet" / "x.safetensors").write_bytes(b"x"), "does not belong"),
    "another format": (lambda path: change_manifest(path, format="other"), "not of the format eve-bundle"),
    "a later version": (lambda path: change_manifest(path, version=99), "version 99"),
    "a later setting": (lambda path: change_manifest(path, settings={"warp": 9}), "'warp'"),
    "a wrong setting": (
        lambda path: change_manifest(path, settings={"control_image": "sound"}),
        "control_image is 'sound'",
    ),
    "no list": (lambda path: change_manifest(path, files={}), "does not list"),
    "no manifest": (lambda path: (path / "bundle.json").unlink(), "has no bundle.json"),
    "a torn manifest": (lambda path: cut(path / "bundle.json"), "cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_told_in_one_sentence(copied: Path, damage: str) -> None:
    harm, message = DAMAGE[damage]
    harm(copied)
    with pytest.raises(ModelError, match=message) as caught:
        bundle.load(copied)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 400 and text.endswith(".")


@pytest.mark.parametrize("part", ["unet", "motion_adapter", "text_encoder", "tokenizer", "scheduler"])
def test_files_of_right_hash_but_wrong_content_are_told_too(copied: Path, part: str) -> None:
    config = next((copied / part).glob("*.json"))
    config.write_text(config.read_text().replace("{", "[", 1))
    bundle_manifest.write(copied, json.loads((copied / "bundle.json").read_text())["settings"], {}, {})
    with pytest.raises(ModelError, match=f"{part} cannot be read") as caught:
        bundle.load(copied)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_their_config_are_told(copied: Path) -> None:
    shutil.copy(copied / "controlnet/diffusion_pytorch_model.safetensors", copied / WEIGHTS)
    bundle_manifest.write(copied, json.loads((copied / "bundle.json").read_text())["settings"], {}, {})
    with pytest.raises(ModelError, match=r"unet (has|cannot)"):
        bundle.load(copied)


def test_a_part_that_the_bundle_lacks_cannot_be_asked_for(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "image", edit=False, video=False)
    assert bundle.load(path).edit is None
    assert json.loads((path / "model_index.json").read_text())["_class_name"] == "StableDiffusionPipeline"
    with pytest.raises(ModelError, match="has no motion_adapter"):
        bundle.load(path, parts=["video"])


def test_saving_is_whole_or_not_at_all(copied: Path, tmp_path: Path) -> None:
    before = bundle_manifest.read(copied).files
    parts = tiny_parts()
    parts.backbone.conv_in.weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        bundle.save(parts, copied)
    assert bundle.verify(copied).files == before
    bundle.save(tiny_parts(), copied)
    assert "align" not in bundle.verify(copied).parts
    assert [path.name for path in tmp_path.iterdir()] == ["copied"]


def test_saving_does_not_overwrite_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "text.txt").write_text("keep me")
    with pytest.raises(OutputError, match="is not a model"):
        bundle.save(tiny_parts(), tmp_path / "notes")
    with pytest.raises(OutputError, match="does not exist"):
        bundle.save(tiny_parts(), tmp_path / "nowhere" / "model")
    assert (tmp_path / "notes" / "text.txt").read_text() == "keep me"


def test_a_bundle_is_found_by_name_or_path(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVE_WEIGHTS", str(whole.parent))
    assert bundle.resolve("whole") == whole == bundle.resolve(whole) == bundle.resolve(str(whole))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whole").mkdir()
    assert bundle.resolve("whole") == whole
    with pytest.raises(ModelError, match="is not a model"):
        bundle.resolve("./whole/")
    with pytest.raises(ModelError, match="no model named 'nothing'"):
        bundle.resolve("nothing")
    with pytest.raises(ModelError, match="is not a model"):
        bundle.resolve(whole.parent)


def test_settings_survive_as_they_were(tmp_path: Path) -> None:
    settings = BundleSettings(
        name="other", first_frame="zero_pad", edit_text="instruction", guidance_scale=4.5, words=()
    )
    parts = tiny_parts(settings=settings)
    loaded = bundle.load(bundle.save(parts, tmp_path / "other"))
    assert loaded.settings == parts.settings
    assert loaded.video is not None and loaded.video.form == "zero_pad"
    assert {item.name for item in dataclasses.fields(Parts)} >= set(bundle_manifest.FOLDERS)


def test_every_preset_has_a_name_of_its_own() -> None:
    assert all(name == preset.name and preset.summary for name, preset in PRESETS.items())


def test_too_little_memory_is_not_taken_for_a_damaged_model(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 733184 bytes.")

    monkeypatch.setattr(bundle, "_from_pretrained", full)
    with pytest.raises(OutOfMemory, match="while the model was loaded"):
        bundle.load(whole)
