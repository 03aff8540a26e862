"""Every editing method, generation and the encoders of the metrics on a simulated GPU."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.options import CaptionedOptions
from eve_cli.methods.registry import METHODS
from eve_cli.models.loading import load_model
from eve_cli.models.spec import ModelSpec
from eve_cli.perception import clip as clips
from eve_cli.perception import viclip_encoders
from tests.devices.simulated import DEVICES, devices_of, gpus
from tests.encoders import clip_folder, sized, viclip_folder
from tests.tiny import tiny_bundle, tiny_clip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("model") / "tiny")


@pytest.mark.slow
@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
def test_an_edit_stays_on_its_device(method: str, dtype: Any, name: str, model: Path) -> None:
    spec = METHODS[method]
    captions = {"source_caption": "a car"} if issubclass(spec.options, CaptionedOptions) else {}
    short = {"tune_steps": 2} if "tune_steps" in {item.name for item in fields(spec.options)} else {}
    options = spec.options(**captions, **short)
    with gpus(name):
        editor = load_model(ModelSpec(str(model), device=name, dtype=dtype)).editor
        assert devices_of(*editor.modules()) == {name} and next(editor.backbone.parameters()).dtype == editor.dtype
        source = tiny_clip().source.to(name)
        clip = Clip(source, source, range(len(source)), source[:0])
        with torch.no_grad():
            guidance = Guidance("make it red", "a red car", None, 2, 2.0, 1.5, 0, options)
            edited = spec.load()().edit(editor, clip, guidance)
            frames = editor.decode(edited)
        assert str(edited.device) == str(frames.device) == name and frames.isfinite().all()


@pytest.mark.parametrize("name", DEVICES)
def test_the_encoders_of_the_metrics_stay_on_their_device(name: str, tmp_path: Path) -> None:
    frames = torch.randint(0, 255, (8, 3, 32, 32), dtype=torch.uint8)
    clip_place, viclip_place = clip_folder(tmp_path / "clip"), viclip_folder(tmp_path / "viclip")
    with gpus(name):
        clip = clips.Clip.load(clip_place, name)
        viclip = viclip_encoders.ViclipEncoder.load(viclip_place / "model.safetensors", sized(), device=name)
        for encoder in (clip, viclip):
            pictures, texts = encoder.encode_frames(frames), encoder.encode_texts(["a car"])
            assert pictures.shape[-1] == texts.shape[-1] and pictures.device == texts.device
