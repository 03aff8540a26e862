"""Edits with models of the sd15 layout: other backbones, LoRAs of other tools, and the numbers of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from eve_cli.cli.app import run
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.eve import Eve
from eve_cli.models import bundle
from eve_cli.models.editor import Editor
from eve_cli.models.families import sd15
from tests.clips import make_clip
from tests.originals import save_checkpoint

LAYER = "mid_block_attentions_0_transformer_blocks_0_attn1_to_q"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    bundle.save(sd15.random_parts("tiny"), home / "sd15")
    save_checkpoint(sd15.random_parts("tiny", seed=3), home / "other.safetensors")
    torch.manual_seed(0)
    sizes = {f"lora_unet_{LAYER}": 64, "lora_te_text_model_encoder_layers_0_mlp_fc1": 32}
    weights = {f"{name}.lora_down.weight": torch.randn(4, width) for name, width in sizes.items()}
    weights |= {f"{name}.lora_up.weight": torch.randn(64, 4) for name in sizes}
    save_file(weights, home / "style.safetensors")
    return home


@pytest.fixture
def desk(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("EVE_WEIGHTS", str(home))
    monkeypatch.setenv("EVE_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.mkv", 3)
    yield tmp_path


@pytest.mark.slow
def test_other_backbones_and_loras_of_other_tools(desk: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["edit", "clip.mkv", "make it snowy", "-m", "sd15", "--steps", "1", "--seed", "1", "--size", "model"]
    more = {
        "plain": [],
        "backbone": ["--backbone", str(home / "other.safetensors")],
        "style": ["--lora", f"{home / 'style.safetensors'}:0.25"],
    }
    for name, options in more.items():
        assert run([*words, *options, "-o", f"{name}.mp4"]) == 0, capsys.readouterr().err
    made = {name: Path(f"{name}.mp4").read_bytes() for name in more}
    assert len(set(made.values())) == len(more)
    kept = json.loads(Path("style.run.json").read_text())
    assert kept["model"]["lora"] == {"token": "style", "kind": "file"}
    assert kept["settings"]["backbone"] is None
    assert run([*words, "--backbone", "some/repo", "-o", "none.mp4"]) == 4
    assert "eve models pull sd15 --backbone some/repo" in capsys.readouterr().err


@torch.no_grad()
def test_lone_frames_take_the_steps_and_guidance_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model distilled to few steps in its motion layers alone makes first frames as it always did."""
    parts = sd15.random_parts("tiny")
    parts.settings = replace(parts.settings, steps=1, guidance_scale=1.0, image_steps=3, picture_guidance_scale=4.0)
    editor, asked = Editor(parts), []
    plain = editor.guided_edit

    def guided(*words, **options):
        asked.append(options["guidance_scale"])
        denoise = plain(*words, **options)

        def counted(noisy, t):
            asked.append(int(t[0]))
            return denoise(noisy, t)

        return counted

    monkeypatch.setattr(editor, "guided_edit", guided)
    frames = torch.rand(2, 3, 64, 64)
    clip = Clip(source=editor.encode(frames), control_image=frames, indices=range(2), reference=torch.zeros(0, 4, 8, 8))
    guidance = Guidance("make it snowy", None, None, steps=1, guidance_scale=1.0, image_guidance_scale=1.0, seed=0)
    assert Eve().edit(editor, clip, guidance).shape == (2, 4, 8, 8)
    assert asked == [4.0, 999, 666, 332]
