"""Trainings and alignments of models of the sd15 layout: a few real steps at tiny width, and what a step takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from eve_cli.alignment import pipeline
from eve_cli.alignment.settings import AlignSettings, align_recipe
from eve_cli.models import bundle, bundle_manifest
from eve_cli.models.editor import Editor
from eve_cli.models.families import sd15
from eve_cli.training import session
from eve_cli.training.settings import SETTINGS

FEW: dict[str, Any] = {"steps": 2, "batch": 1, "preview_every": 0, "log_every": 1, "quiet": True, "device": "cpu"}
SHORT = {
    **FEW,
    "accumulate": 1,
    "global_batch": 0,
    "points": 2,
    "rank": 2,
    "teacher_steps": 1,
    "frames": 2,
    "discriminator_frames": 1,
    "save_every": 1,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = replace(sd15.TINY, frames=2)
    return bundle.save(sd15.random_parts(sizes), tmp_path_factory.mktemp("models") / "sd15")


def same_file(one: Path, other: Path, name: str) -> bool:
    return (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.slow
def test_the_papers_recipe_aligns(model: Path, tmp_path: Path) -> None:
    values = {
        **align_recipe({"recipe": "paper"}),
        **SHORT,
        "adversarial_start": 0.5,
        "discriminator_frames": 1,
        "model": str(model),
    }
    settings = AlignSettings(**values, out=tmp_path / "run", cache=tmp_path / "points")
    trained = pipeline.run(settings)
    assert trained.model is not None and all(torch.isfinite(torch.tensor(list(trained.outcome.losses.values()))))
    parts = bundle.load(trained.model)
    assert parts.align is not None and any(float(v.abs().max()) > 0 for n, v in parts.align.items() if "lora_B" in n)
    for part in ("vae", "backbone", "edit", "video", "sparse"):  # the very files, not written again
        assert same_file(model, trained.model, f"{bundle_manifest.FOLDERS[part]}/diffusion_pytorch_model.safetensors")
    editor, noise = Editor(parts), torch.randn(1, 2, 4, 8, 8)
    with torch.no_grad():
        text, frames = editor.embed(["night"]), torch.rand(1, 2, 3, 64, 64)
        asked = (noise, torch.tensor([999]), text, text, frames, noise[:, 0])
        before = Editor(bundle.load(model)).clean_student(*asked)
        assert not torch.equal(editor.clean_student(*asked), before)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "moved"), [("edit", "controlnet"), ("video", "motion_adapter")])
def test_an_adapter_trains(part: str, moved: str, model: Path, tmp_path: Path) -> None:
    trained = session.train(part, SETTINGS[part](**FEW, model=str(model), out=tmp_path / part))
    assert trained.model is not None
    name = "diffusion_pytorch_model.safetensors"
    before, after = load_file(model / moved / name), load_file(trained.model / moved / name)
    assert any(not torch.equal(before[n], after[n]) for n in before)
    assert same_file(model, trained.model, f"unet/{name}")


@pytest.mark.slow
@pytest.mark.parametrize("part", ["edit", "video", "backbone", "joint", "vae", "decoder"])
def test_a_steps_cost_is_counted_without_weights(part: str, model: Path) -> None:
    estimate = session.estimate_step(part, SETTINGS[part](**FEW, model=str(model)))
    parts = bundle.load(model)
    assert estimate.weights == sum(p.numel() * 4 for _, m in parts.modules() for p in m.parameters())
    assert estimate.flops > 0 and estimate.activations > 0 and 0 < estimate.trained * 4 <= estimate.weights


@pytest.mark.slow
def test_the_true_size_takes_what_the_shapes_say() -> None:
    """Forward passes of eight frames at 512x512: the numbers of an independent count (TFLOP)."""
    from eve_cli.runtime.meter import META, Meter, attention

    editor = Editor(sd15.random_parts("full", device="meta"), "meta")
    with torch.device(META):
        noisy, t, text = torch.empty(1, 8, 4, 64, 64), torch.zeros(1).long(), torch.empty(1, 77, 768)
        frames = torch.empty(1, 8, 3, 512, 512)
    ways = {
        6.43: lambda: editor.clean_image(noisy[0], t.expand(8), text.expand(8, -1, -1)),
        8.83: lambda: editor.clean_video(noisy, t, text, None),
        8.83 + 2.94: lambda: editor.clean_video(noisy, t, text, noisy[:, 0]),
        8.83 + 2.94 + 2.27: lambda: editor.clean_student(noisy, t, text, text, frames, noisy[:, 0]),
        20.12: lambda: editor.decode(noisy[0]),
    }
    for expected, way in ways.items():
        meter = Meter()
        with torch.no_grad(), meter, attention(meter):
            way()
        assert meter.flops / 1e12 == pytest.approx(expected, abs=0.02)
