"""Metrics on networks, with random weights in the true layouts: they run, and mean what their recipe says."""

import math
from pathlib import Path

import pytest
import torch
from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

from eve_cli.evaluation.metrics import METRICS
from eve_cli.evaluation.metrics.base import EditClip
from eve_cli.evaluation.pairs import Pair
from eve_cli.evaluation.weights import CHECKPOINTS, Weights
from eve_cli.perception import viclip
from eve_cli.registry import load
from tests.encoders import clip_folder, sized, viclip_folder

OPEN = [name for name, spec in METRICS.items() if "weights" in load(spec).needs and not name.startswith("world")]
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 224}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """All checkpoints, each in a folder under its own name."""
    folder = tmp_path_factory.mktemp("weights")
    for name, row in CHECKPOINTS.items():
        if row.kind == "clip" and row.size != "world":
            clip_folder(folder / name)
        elif row.kind == "viclip" and row.size != "world":
            viclip_folder(folder / name)
    torch.manual_seed(4)
    ViTModel(ViTConfig(**SMALL, intermediate_size=16, patch_size=32)).save_pretrained(folder / "dino-b16")
    Dinov2Model(Dinov2Config(**SMALL, mlp_ratio=1, patch_size=28)).save_pretrained(folder / "dinov2-b14")
    return Weights(folder)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    from eve_cli.evaluation.metrics import networks

    monkeypatch.setattr(networks, "SIZES", {"viclip-l14": sized(), "viclip-b16": sized()})
    monkeypatch.setattr(viclip, "L14", sized())
    monkeypatch.setattr(viclip, "B16", sized())


def edit_clip(frames: int, **texts: str) -> EditClip:
    g = torch.Generator().manual_seed(5)
    clip = torch.randint(0, 256, (frames, 3, 40, 60), generator=g).to(torch.uint8)
    captions = {"input_caption": "a red car", "output_caption": "a blue car at night"} | texts
    return EditClip(Pair("a", "a", "style", Path("a"), Path("b"), **captions), clip, source=clip.flip(1))


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize("frames", [1, 9])
def test_a_network_gives_values_or_reasons(name: str, frames: int, weights: Weights) -> None:
    metric = load(METRICS[name])(weights, "cpu")
    assert metric.missing() is None
    metric.open()
    clip = edit_clip(frames)
    found = metric.score(clip)
    assert set(found) == {column.name for column in metric.columns}
    undefined = [column for column, value in found.items() if math.isnan(value)]
    assert all(any(column in note for note in clip.notes) for column in undefined), (undefined, clip.notes)
    assert frames == 1 or not undefined
    cosines = [found[column.name] for column in metric.columns if column.unit == "cos" and column.name in found]
    assert all(math.isnan(value) or -1.000001 <= value <= 1.000001 for value in cosines)


@pytest.mark.parametrize("name", ["viclip", "viclip_vbench", "viclip_editverse", "viclip_b16"])
def test_viclip_needs_both_captions_for_a_direction(name: str, weights: Weights) -> None:
    metric = load(METRICS[name])(weights, "cpu")
    metric.open()
    clip = edit_clip(8, input_caption="")
    found = metric.score(clip)
    assert math.isnan(found[f"{name}_dir"]) and not math.isnan(found[f"{name}_out"]) and clip.notes
    same = edit_clip(8)
    same.edited = same.source if same.source is not None else same.edited
    found = metric.score(same)
    assert found[f"{name}_dir"] == 0 and found[f"{name}_unchanged"] == 1


def test_long_captions_are_reported(weights: Weights) -> None:
    for name in ("clip_text", "viclip"):
        metric = load(METRICS[name])(weights, "cpu")
        metric.open()
        clip = edit_clip(8, output_caption="a red car " * 12)
        metric.score(clip)
        assert any("is truncated" in note for note in clip.notes)


# The value of each column for a still clip that equals its source; a range where that depends on the captions.
STILL: dict[str, float | tuple[float, float]] = {
    "clip_frame": 1,
    "clip_text": (-100, 100),
    "clip_text_gain": 0,
    "pick_score": (-100, 100),
    "editverse_pick": (-100, 100),
    "assd_text": (-1, 1),
    "assd_consistency": 1,
    "editverse_clip": 1,
    "vbench_background": 1,
    "vbench_subject": 1,
    "editverse_dino": 1,
    **{f"{name}_dir": 0 for name in ("viclip", "viclip_vbench", "viclip_editverse", "viclip_b16")},
    **{f"{name}_out": (-1, 1) for name in ("viclip", "viclip_vbench", "viclip_editverse", "viclip_b16")},
    **{f"{name}_words": (0.001, 2) for name in ("viclip", "viclip_vbench", "viclip_editverse", "viclip_b16")},
    **{f"{name}_unchanged": 1 for name in ("viclip", "viclip_vbench", "viclip_editverse", "viclip_b16")},
}


@pytest.mark.parametrize("name", OPEN)
def test_a_still_copy_of_the_source_has_the_known_value(name: str, weights: Weights) -> None:
    metric = load(METRICS[name])(weights, "cpu")
    metric.open()
    clip = edit_clip(8)
    clip.edited = clip.edited[:1].repeat(8, 1, 1, 1)
    clip.source = clip.edited.clone()
    for column, value in metric.score(clip).items():
        expected = STILL[column]
        if isinstance(expected, tuple):
            assert expected[0] <= value <= expected[1], (column, value)
        else:
            assert value == pytest.approx(expected, abs=1e-5), (column, value)
