"""The judge of generated pictures: its answers are read right, and it can be kept."""

from pathlib import Path

import pytest
import torch

from eve_cli.data.world.render import render
from eve_cli.data.world.scene import COLOURS, KINDS, PLACES, TEXTURES, Scene, Thing, sample_scene
from eve_cli.errors import ModelError
from eve_cli.evaluation.probe import Prediction, Probe, accuracies, truth

SCENES = [sample_scene(seed, held_out=None) for seed in range(12)]


def perfect(scenes: list[Scene]) -> Prediction:
    t = truth(scenes)
    return Prediction(
        t["present"],
        t["colour"].clamp_min(0),
        t["texture"].clamp_min(0),
        t["place"],
        t["time"],
        t["weather"],
    )


def test_truth_reads_a_scene() -> None:
    scene = Scene("city", "night", "foggy", (Thing("car", "red", "striped"),))
    t = truth([scene])
    assert t["present"].tolist() == [[float(kind == "car") for kind in KINDS]]
    assert t["colour"][0, KINDS.index("car")] == list(COLOURS).index("red")
    assert t["texture"][0, KINDS.index("car")] == TEXTURES.index("striped")
    assert (t["colour"] >= 0).sum() == 1 and t["place"].item() == PLACES.index("city")


def test_right_answers_score_one_and_wrong_ones_less() -> None:
    answer = perfect(SCENES)
    assert set(accuracies(answer, SCENES).values()) == {1.0}
    blind = Prediction(torch.zeros_like(answer.present), *(getattr(answer, n) for n in list(vars(answer))[1:]))
    scores = accuracies(blind, SCENES)
    assert scores["thing"] == scores["thing in its colour"] == scores["whole caption"] == 0
    other = Prediction(answer.present, (answer.colour + 1) % len(COLOURS), *list(vars(answer).values())[2:])
    assert accuracies(other, SCENES)["colour"] == 0 and accuracies(other, SCENES)["texture"] == 1


def test_a_probe_answers_and_is_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    probe = Probe().half().float().eval()
    frames = render(SCENES[:3], [4]).frames[:, 0]
    answer = probe.predict(frames)
    assert answer.present.shape == answer.colour.shape == (3, len(KINDS)) and answer.place.shape == (3,)
    probe.save(tmp_path / "weights" / "probe.safetensors")
    kept = Probe.load(tmp_path / "weights" / "probe.safetensors").predict(frames)
    assert all(torch.equal(value, getattr(kept, name)) for name, value in vars(answer).items())


def test_a_missing_or_broken_probe_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no usable probe"):
        Probe.load(tmp_path / "none.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="no usable probe"):
        Probe.load(tmp_path / "broken.safetensors")
