"""Models that come as files and go as files: bundles, diffusers' folders, single files; and what is wrong with some."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AnimateDiffControlNetPipeline
from safetensors.torch import load_file, save_file

from eve_cli.cli.app import run
from eve_cli.diffusion.schedule import Schedule
from eve_cli.errors import ModelError, OutputError, UsageError
from eve_cli.models import alignment_lora, bundle, bundle_builder, bundle_manifest, exporting, importing
from eve_cli.models.adapters import without_labels
from eve_cli.models.editor import Editor
from eve_cli.models.families import sd15
from eve_cli.models.parts import Parts
from tests import originals
from tests.hub import diffusers_folder
from tests.originals import save_checkpoint
from tests.tiny import tiny_parts


@pytest.fixture(scope="module")
def parts() -> Parts:
    return sd15.random_parts("tiny")


@pytest.fixture(scope="module")
def other() -> Parts:
    """Parts with other weights, as a community's checkpoint has."""
    return sd15.random_parts("tiny", seed=5)


@pytest.fixture(scope="module")
def kept(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a bundle named sd15, with an alignment."""
    editor = Editor(parts)
    assert editor.student is not None
    for parameter in alignment_lora.add(editor.student, rank=2):
        parameter.data = torch.full_like(parameter, 0.05)
    parts.align = alignment_lora.weights(editor.student)
    return bundle.save(parts, tmp_path_factory.mktemp("kept") / "sd15")


@pytest.fixture(autouse=True)
def home(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("EVE_WEIGHTS", str(kept.parent))
    return tmp_path / "models"


def same(one: Any, another: Any) -> bool:
    """Whether two modules hold the same numbers in half precision."""
    first, second = one.state_dict(), another.state_dict()
    return first.keys() == second.keys() and all(torch.equal(v.half(), second[n].half()) for n, v in first.items())


def pipeline(parts: Parts, place: Path) -> Path:
    """A Stable Diffusion 1.5 in diffusers' form."""
    for name, module in (("unet", parts.backbone), ("vae", parts.vae)):
        diffusers_folder(module, place / name)
    diffusers_folder(parts.text_encoder, place / "text_encoder", name="model.safetensors")
    parts.tokenizer.save_pretrained(place / "tokenizer")
    return place


@pytest.mark.parametrize("form", [save_checkpoint, pipeline], ids=["single file", "diffusers"])
def test_another_backbone_takes_the_place_of_the_base(
    form: Callable[[Parts, Path], Path], parts: Parts, other: Parts, tmp_path: Path
) -> None:
    made = importing.parts_in("mine", {"backbone": form(other, tmp_path / "other.safetensors")})
    loaded = bundle.load(made)
    assert same(loaded.backbone, other.backbone) and same(loaded.vae, other.vae)
    assert same(loaded.text_encoder, other.text_encoder)
    assert loaded.edit is not None and parts.edit is not None and same(loaded.edit, parts.edit)
    assert loaded.align is not None and loaded.image_schedule is not None
    assert bundle_manifest.read(made).sources["backbone"] == {"file": "other.safetensors"} or form is pipeline
    assert importing.with_backbone("sd15", tmp_path / "other.safetensors") == importing.with_backbone(
        "sd15", tmp_path / "other.safetensors"
    )


def test_what_a_scheduler_says_the_backbone_predicts_is_heard(other: Parts, tmp_path: Path) -> None:
    place = pipeline(other, tmp_path / "v")
    (place / "scheduler").mkdir()
    (place / "scheduler/scheduler_config.json").write_text('{"prediction_type": "v_prediction"}', encoding="utf-8")
    loaded = bundle.load(importing.parts_in("v", {"backbone": place}))
    assert loaded.schedule.prediction == "v" and loaded.image_schedule and loaded.image_schedule.prediction == "v"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["edit", "video", "sparse", "backbone"])
@pytest.mark.parametrize("original", [True, False], ids=["by its authors' names", "by diffusers' names"])
def test_parts_in_single_files(name: str, original: bool, other: Parts, tmp_path: Path) -> None:
    module: Any = other.video.motion if name == "video" and other.video else getattr(other, name)
    tensors = module.state_dict()
    if original:
        tensors = {
            "edit": lambda: originals.unet(tensors, "control_model."),
            "video": lambda: originals.motion(tensors),
            "sparse": lambda: originals.motion(tensors),
            "backbone": lambda: originals.unet(tensors, "model.diffusion_model."),
        }[name]()
    save_file({n: v.contiguous().half() for n, v in tensors.items()}, tmp_path / "part.safetensors")
    loaded = getattr(bundle.load(importing.parts_in("mine", {name: tmp_path / "part.safetensors"})), name)
    assert same(loaded.motion if name == "video" else loaded, module)


@pytest.mark.parametrize("out", ["carried", "carried.tar"])
def test_a_bundle_is_carried_to_another_machine(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "bundle", "sd15", "-o", str(tmp_path / out)]) == 0
    monkeypatch.delenv("EVE_WEIGHTS")
    assert run(["models", "import", str(tmp_path / out), "--name", "there"]) == 0
    assert capsys.readouterr().out.split()[-1] == str(bundle_manifest.home() / "there")
    assert bundle.load(bundle_manifest.resolve("there")).settings.first_frame == "sparse"
    assert run(["models", "import", str(tmp_path / out), "--name", "there"]) == 2
    assert run(["models", "list"]) == 0
    listed = capsys.readouterr().out
    assert "there" in listed and "no licence is noted" in listed


def test_a_damaged_tar_is_said(tmp_path: Path) -> None:
    whole = importing.bundle_out("sd15", tmp_path / "a.tar")
    with tarfile.open(whole) as tar:
        second = tar.getmembers()[1].offset
    whole.write_bytes(whole.read_bytes()[: second + 100])
    with pytest.raises(ModelError, match=r"a\.tar/.* is missing: copy the model again"):
        importing.bundle_in(whole)
    (tmp_path / "b.tar").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="is damaged or no bundle"):
        importing.bundle_in(tmp_path / "b.tar")


def test_names_and_places_are_minded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="embedded"):
        importing.parts_in("mini", {"backbone": tmp_path})
    with pytest.raises(UsageError, match="is no name"):
        importing.parts_in("a/b", {"backbone": tmp_path})
    with pytest.raises(ModelError, match="does not exist"):
        importing.parts_in("a", {"backbone": tmp_path / "none"})
    (tmp_path / "x").touch()
    with pytest.raises(OutputError, match="exists already"):
        importing.bundle_out("sd15", tmp_path / "x")


# What can be wrong with a file: one sentence each


def truncated(place: Path) -> None:
    file = place / "unet/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def missing(place: Path) -> None:
    (place / "unet/diffusion_pytorch_model.safetensors").unlink()


def pickled(place: Path) -> None:
    (place / "unet/diffusion_pytorch_model.safetensors").rename(place / "unet/diffusion_pytorch_model.bin")


def misshapen(place: Path) -> None:
    file = place / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["conv_in.weight"] = tensors["conv_in.weight"][:, :3].contiguous()
    save_file(tensors, file)


def incomplete(place: Path) -> None:
    file = place / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["conv_out.bias"]
    save_file(tensors, file)


def wider(place: Path) -> None:
    config = json.loads((place / "unet/config.json").read_text(encoding="utf-8"))
    config["block_out_channels"] = [64, 64, 64, 64]
    (place / "unet/config.json").write_text(json.dumps(config), encoding="utf-8")


def not_finite(place: Path) -> None:
    file = place / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["conv_out.bias"][1] = float("nan")
    save_file(tensors, file)


def configless(place: Path) -> None:
    (place / "unet/config.json").unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncated, "is cut short"),
        (missing, "they are missing"),
        (pickled, "only as a pickle"),
        (misshapen, r"1 tensor is of another shape, such as conv_in.weight: 32×3×3×3, not 32×4×3×3"),
        (incomplete, "1 tensor is missing, such as conv_out.bias"),
        (wider, "of another shape"),
        (not_finite, "The unet: conv_out.bias has values that are not finite"),
        (configless, "has no config.json"),
    ],
)
def test_what_is_wrong_with_a_part_is_said(
    damage: Callable[[Path], None], said: str, other: Parts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = pipeline(other, tmp_path / "other")
    damage(place)
    with pytest.raises(ModelError, match=said):
        importing.parts_in("mine", {"backbone": place})
    capsys.readouterr()
    assert run(["models", "import", str(place), "--name", "mine"]) == 4
    assert capsys.readouterr().err.count("\n") == 1 and not (bundle_manifest.home() / "mine").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.ckpt", b"", "is a pickle file"),
        ("x.safetensors", b"\x00" * 4, "is not a safetensors file"),
        ("x.safetensors", {"a.b": torch.zeros(1)}, "holds no part that eve knows"),
        ("x.safetensors", {"conditioner.embedders.0.x": torch.zeros(1)}, "is a Stable Diffusion XL"),
        ("x.safetensors", {"lora_unet_x.lora_down.weight": torch.zeros(1)}, "is a LoRA"),
        ("x.safetensors", {"controlnet_cond_embedding.weight": torch.zeros(1)}, "holds a sparse_controlnet, and was"),
        ("x.safetensors", {"model.diffusion_model.input_blocks.0.0.bias": torch.zeros(32)}, "is not the whole model"),
    ],
)
def test_what_is_wrong_with_a_single_file_is_said(name: str, content: Any, said: str, tmp_path: Path) -> None:
    file = tmp_path / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        save_file(content, file)
    with pytest.raises(ModelError, match=said):
        importing.parts_in("mine", {"backbone": file})


def test_adapters_of_another_width_are_refused(parts: Parts, tmp_path: Path) -> None:
    wide = sd15.Sizes(**{**vars(sd15.TINY), "channels": (64, 64, 64, 64)})
    diffusers_folder(sd15.edit(wide), tmp_path / "edit")
    with pytest.raises(ModelError, match="they were not made for each other"):
        importing.parts_in("mine", {"edit": tmp_path / "edit"})


def test_a_base_that_is_not_here_must_be_given_whole(
    monkeypatch: pytest.MonkeyPatch, other: Parts, tmp_path: Path
) -> None:
    monkeypatch.delenv("EVE_WEIGHTS")
    with pytest.raises(ModelError, match="No tokenizer was given, and sd15 is not on this machine"):
        importing.parts_in("mine", {"backbone": save_checkpoint(other, tmp_path / "x.safetensors")})
    loaded = bundle.load(importing.parts_in("mine", {"backbone": pipeline(other, tmp_path / "x")}))
    assert loaded.edit is None and loaded.settings.text_tokens == 77


# Out to diffusers


@pytest.mark.slow
@torch.no_grad()
def test_an_exported_model_is_a_pipeline_of_diffusers(parts: Parts, tmp_path: Path) -> None:
    made = exporting.export("sd15", tmp_path / "out")
    assert any("load_lora_weights" in line for line in made.told)
    pipe: Any = AnimateDiffControlNetPipeline.from_pretrained(made.path)
    pipe.set_progress_bar_config(disable=True)
    assert pipe.scheduler.config["beta_schedule"] == "linear"
    editor = Editor(bundle.load(bundle_manifest.resolve("sd15")))
    text, frames = editor.embed(["make it snowy"]), torch.rand(2, 3, 64, 64)
    noise = torch.randn(1, 2, 4, 8, 8)

    def theirs() -> torch.Tensor:
        return pipe(
            prompt_embeds=text,
            num_frames=2,
            height=64,
            width=64,
            num_inference_steps=1,
            guidance_scale=1.0,
            latents=noise.transpose(1, 2),
            conditioning_frames=list(frames[:, None]),
            output_type="latent",
        ).frames

    before = theirs()
    pipe.load_lora_weights(made.path / "align", weight_name="pytorch_lora_weights.safetensors")
    after = theirs().transpose(1, 2)
    assert not torch.allclose(before.transpose(1, 2), after, atol=1e-3)
    # eve gives the ControlNet the timestep of its own schedule, and the pipeline does not
    editor.image_schedule = editor.schedule
    ours = editor.clean_student(noise, torch.tensor([999]), text, text, frames[None], None)
    assert torch.allclose(ours, after, atol=1e-3)


def test_labels_are_folded_into_an_exported_controlnet(tmp_path: Path) -> None:
    parts = tiny_parts()
    assert parts.edit is not None and parts.edit.class_embedding is not None
    torch.nn.init.normal_(parts.edit.class_embedding.weight)  # pyright: ignore
    place = bundle.save(parts, tmp_path / "mine", dtype=torch.float32)
    made = exporting.export(place, tmp_path / "out", task="remove")
    assert not (made.path / "motion_adapter/first_frame.safetensors").exists()
    assert (place / "motion_adapter/first_frame.safetensors").exists()
    folded = bundle_builder.CLASSES["edit"].from_pretrained(made.path / "controlnet")
    assert same(folded, without_labels(parts.edit, 1))
    assert json.loads((made.path / "model_index.json").read_text())["_class_name"] == "AnimateDiffControlNetPipeline"
    with pytest.raises(UsageError, match="--task fly is unknown"):
        exporting.export(place, tmp_path / "more", task="fly")
    shutil.rmtree(made.path)


def test_all_that_a_scheduler_says_of_the_noise_is_read(other: Parts, tmp_path: Path) -> None:
    place = pipeline(other, tmp_path / "zero")
    (place / "scheduler").mkdir()
    config = {"prediction_type": "v_prediction", "beta_schedule": "scaled_linear", "beta_start": 0.001}
    config |= {"beta_end": 0.013, "rescale_betas_zero_snr": True, "num_train_timesteps": 1000, "steps_offset": 7}
    file = place / "scheduler/scheduler_config.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    loaded = bundle.load(importing.parts_in("zero", {"backbone": place}))
    schedule = loaded.image_schedule
    assert schedule is not None and schedule.alpha[-1] == 0
    assert torch.equal(schedule.alpha, Schedule.from_diffusers(config).alpha)
    assert loaded.schedule.alpha[-1] > 0  # that of the video adapter, which was trained on it
    file.write_text(json.dumps(config | {"prediction_type": "epsilon"}), encoding="utf-8")
    with pytest.raises(ModelError, match="undefined at zero signal"):
        importing.parts_in("none", {"backbone": place})
