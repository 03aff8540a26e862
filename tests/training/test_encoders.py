"""Encoders of the world: trained, saved and read as released networks are; gates; the clips of the gates."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from eve_cli.data.world.variants import ATTRIBUTES, TASK_ATTRIBUTES, draw, retrieval, variants
from eve_cli.data.world.vocabulary import vocabulary
from eve_cli.evaluation.metrics import METRICS
from eve_cli.evaluation.metrics.base import EditClip
from eve_cli.evaluation.metrics.gates import GATE, GATES_FILE, Gates
from eve_cli.evaluation.pairs import Pair
from eve_cli.evaluation.weights import Weights
from eve_cli.models import bundle
from eve_cli.models.families import mini
from eve_cli.registry import load
from eve_cli.training import record, session
from eve_cli.training.recipes import encoders
from eve_cli.training.settings import EncodersSettings

SMALL = encoders.EncoderSizes(32, 1, 2, 16, 32, 1, 4, 1, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps, and the same with an interruption."""
    home = tmp_path_factory.mktemp("encoders")
    model = bundle.save(mini.build(vocabulary(), mini.TINY), home / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders, "CHUNK", 6)
        patch.setattr(encoders, "TRIALS", 1)
        patch.setattr(encoders, "EncoderSizes", lambda: SMALL)
        plain: dict[str, Any] = {"model": str(model), "batch": 4, "precision": "no", "log_every": 1}
        session.train("encoders", EncodersSettings(steps=4, out=home / "whole", **plain))
        session.train("encoders", EncodersSettings(steps=2, out=home / "run", **plain))
        session.train("encoders", EncodersSettings(steps=4, out=home / "run", resume=True, **plain))
    return home


def test_a_resumed_run_has_the_losses_of_an_unbroken_one(folder: Path) -> None:
    losses = [[row["loss"] for row in record.read(folder / name)] for name in ("whole", "run")]
    assert losses[0][:2] == losses[1][:2] and len(losses[1]) == 4 and all(map(math.isfinite, losses[1]))


@pytest.mark.parametrize("name", ["clip", "viclip"])
def test_gates_are_kept_with_the_weights(name: str, folder: Path) -> None:
    told = json.loads((folder / "run" / "encoders" / name / GATES_FILE).read_text())
    assert set(told["attributes"]) == set(ATTRIBUTES) and told["trials"] == 1 and told["training"]["steps"] == 4
    for row in told["attributes"].values():
        assert row["passed"] == (row["right"] >= GATE) and 0 < row["chance"] <= 0.5


def judged(task: str) -> EditClip:
    rows = variants(1, "colour")[:2]
    clips = (draw(rows) * 255).round().to(torch.uint8)
    captions = {"input_caption": rows[0].caption, "output_caption": rows[1].caption}
    return EditClip(Pair("a", "a", task, Path("a"), Path("b"), **captions), clips[1], source=clips[0])


def open_gates(folder: Path, right: float) -> None:
    for name in ("clip", "viclip"):
        told = {"attributes": {attribute: {"right": right} for attribute in ATTRIBUTES}}
        (folder / "run" / "encoders" / name / GATES_FILE).write_text(json.dumps(told))


@pytest.mark.parametrize("name", ["world_clip", "world_viclip"])
def test_only_what_is_told_apart_is_judged(name: str, folder: Path) -> None:
    open_gates(folder, GATE)
    metric = load(METRICS[name])(Weights(folder / "run"), "cpu")
    assert metric.missing() is None
    metric.open()
    found = metric.score(judged("local"))
    assert set(found) == {column.name for column in metric.columns}
    assert all(-100 <= value <= 100 for value in found.values())
    metric.gates = Gates({"colour": 1.0, "kind": GATE - 0.01})
    clip = judged("local")
    closed = metric.score(clip)
    assert all(math.isnan(value) for column, value in closed.items() if column != "world_clip_frame")
    assert any("the accuracy for kind is 89%" in note for note in clip.notes)
    unknown = judged("depth")
    metric.score(unknown)
    assert any("not tested on the task 'depth'" in note for note in unknown.notes)


def test_an_unchanged_clip_has_direction_zero_with_a_flag(folder: Path) -> None:
    open_gates(folder, 1.0)
    metric = load(METRICS["world_viclip"])(Weights(folder / "run"), "cpu")
    metric.open()
    clip = judged("local")
    assert clip.source is not None
    clip.edited = clip.source
    found = metric.score(clip)
    assert found["world_viclip_dir"] == 0 and found["world_viclip_unchanged"] == 1
    assert any("unchanged, so the value is 0" in note for note in clip.notes)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_variants_differ_in_captions_and_pictures(attribute: str) -> None:
    for seed in range(4):
        rows = variants(seed, attribute)
        assert 2 <= len({row.caption for row in rows}) == len(rows)
        clips = draw(rows)
        for row in range(1, len(rows)):
            assert (clips[row] - clips[0]).abs().max() > 0.05, rows
        assert variants(seed, attribute) == rows


def test_tasks_ask_for_attributes_that_there_are() -> None:
    assert {name for row in TASK_ATTRIBUTES.values() for name in row} <= set(ATTRIBUTES)


def test_retrieval_counts_right_answers_and_knows_chance() -> None:
    told: dict[str, list[str]] = {}

    def first(frames: torch.Tensor, texts: list[str]) -> torch.Tensor:
        told.setdefault(str(frames.float().mean()), texts)
        return -torch.arange(len(texts))

    right, chance = retrieval(first, "place", 30)
    assert abs(chance - 1 / 6) < 1e-9 and right < 0.5 and len(told) == 30


def test_contrast_is_that_of_a_loop() -> None:
    g = torch.Generator().manual_seed(0)
    seen, text = torch.randn(6, 5, generator=g), torch.randn(6, 5, generator=g)
    told, scale = torch.tensor([True, False, True]), torch.tensor(7.0)
    whole, pairs, right = encoders.contrast(seen, text, scale, told)
    table = 7 * F.normalize(seen, dim=1) @ F.normalize(text, dim=1).T
    by_loop = [F.cross_entropy(t[i : i + 1], torch.tensor([i])) for t in (table, table.T) for i in range(6)]
    assert whole == pytest.approx(float(sum(by_loop)) / 12, abs=1e-6)
    in_pairs, hits = [], []
    for i in (0, 2):
        block = table[2 * i : 2 * i + 2, 2 * i : 2 * i + 2]
        in_pairs += [F.cross_entropy(b, torch.tensor([0, 1])) for b in (block, block.T)]
        hits += (block.argmax(1) == torch.tensor([0, 1])).float().tolist()
    assert pairs == pytest.approx(float(sum(in_pairs)) / 4, abs=1e-6) and float(right) == sum(hits) / 4
