"""Every way to align on a simulated GPU: preparation, teachers, discriminators, fake scores, previews."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Dinov2Config, Dinov2Model

from eve_cli.alignment.pipeline import Alignment
from eve_cli.alignment.settings import AlignSettings, align_recipe
from eve_cli.models import bundle_manifest, lora
from eve_cli.models.lora import Lora
from tests.devices.simulated import DEVICES, devices_of, gpus
from tests.devices.test_training import check_step, moved
from tests.tiny import lora_weights, tiny_bundle, tiny_parts

SHORT: dict[str, Any] = {
    "batch": 1,
    "points": 2,
    "rank": 2,
    "teacher_steps": 1,
    "adversarial_start": 0.0,
    "discriminator_frames": 2,
    "accumulate": 1,
    "steps": 1,
    "student_steps": 2,
    "frames": 4,
}
WAYS: dict[str, dict[str, Any]] = {
    "mini": {},
    "paper": {"recipe": "paper"},
    "dmd": {"distillation": "dmd"},
    "dino": {"features": "dino:DINO"},
    "random": {"random_init": True},
    "lora": {"teachers": ("edit", "lora:LORA"), "recipe": "lora"},
    "lora-dmd": {"teachers": ("edit", "lora:LORA"), "recipe": "lora", "distillation": "dmd"},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a LoRA for it and a small DINOv2."""
    folder = tmp_path_factory.mktemp("align")
    parts = tiny_parts()
    place = tiny_bundle(folder / "tiny")
    manifest = bundle_manifest.read(place)
    lora.save(Lora(lora_weights(parts), "a z ball", "subject", "tiny", manifest.backbone, {}), folder / "LORA")
    config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)
    Dinov2Model(config).save_pretrained(folder / "DINO")
    return folder


def alignment(home: Path, way: str, **more: Any) -> Alignment:
    changes = {k: str(v).replace("DINO", f"{home}/DINO") if k == "features" else v for k, v in WAYS[way].items()}
    if "teachers" in changes:
        changes["teachers"] = ("edit", f"lora:{home}/LORA")
    chosen = {**align_recipe(changes), **SHORT, **changes, **more}
    places = {"model": str(home / "tiny"), "cache": home / "points"}
    return Alignment(AlignSettings(**{**places, **chosen}))


@pytest.mark.slow
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("way", WAYS)
def test_a_step_and_its_preparation_stay_on_their_device(
    home: Path, tmp_path: Path, way: str, name: str, precision: torch.dtype | None
) -> None:
    with gpus(name):
        run = alignment(home, way, cache=tmp_path)
        assert str(run.editor.device) == name
        assert devices_of(*run.student.editor.modules(), *run.editor.modules()) == {name}
        recipe = run.recipe()
        check_step(moved(recipe, torch.device(name)), torch.device(name), precision)
        with torch.no_grad():
            recipe.preview(0)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_all_parts_follow_the_student_to_another_device(home: Path, way: str) -> None:
    with gpus("cuda:1"):
        recipe = alignment(home, way, device="cpu").recipe()
        recipe.batch(0, 0)
        check_step(moved(recipe, torch.device("cuda:1")), torch.device("cuda:1"), None)
        editors = [t.editor for t in recipe.teachers] + [s.teacher.editor for s in recipe.fake_scores.values()]
        assert devices_of(*(m for editor in editors for m in editor.modules())) == {"cuda:1"}
