import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from eve_cli.errors import ModelError
from eve_cli.evaluation import doctor
from eve_cli.evaluation.metrics import METRICS
from eve_cli.evaluation.weights import CHECKPOINTS, Weights
from eve_cli.models import hub
from eve_cli.perception import viclip
from eve_cli.perception.clip import features, load_quietly
from eve_cli.registry import load
from tests.encoders import clip_folder, sized, viclip_folder

NETWORKS = [name for name, spec in METRICS.items() if "weights" in load(spec).needs]


@pytest.fixture(autouse=True)
def _nothing_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty Hub cache, and no way out."""
    real = hub.snapshot_download
    monkeypatch.setattr(hub, "snapshot_download", lambda *a, **k: real(*a, cache_dir=tmp_path / "hub", **k))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("went online"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a whole CLIP and a whole ViCLIP, whose sizes stand for those of L/14."""
    monkeypatch.setattr(viclip, "L14", sized())
    clip_folder(tmp_path / "w" / "clip-vit-large-patch14")
    viclip_folder(tmp_path / "w" / "viclip-l14")
    return tmp_path / "w"


@pytest.mark.parametrize("name", NETWORKS)
def test_missing_weights_are_one_sentence_and_no_number(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eve_cli.evaluation.weights.SHIPPED", ())
    metric = load(METRICS[name])(Weights(tmp_path), "cpu")
    said = metric.missing()
    assert said and "\n" not in said and ("--download" in said or "eve train encoders" in said)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_checkpoint_is_of_use(name: str) -> None:
    also = {row.also for row in CHECKPOINTS.values()}
    assert name in doctor.users() or name in also


def states(folder: Path, name: str) -> tuple[str, str]:
    found = doctor.status(Weights(folder), name)
    return found.state, found.text


def test_whole_ones_are_ok(folder: Path) -> None:
    for name in ("clip-l14", "viclip-l14"):
        assert states(folder, name)[0] == "ok", states(folder, name)
    lines = {line.name: line for line in doctor.check(Weights(folder))}
    assert lines["clip-l14"].state == "ok" and "clip_frame" in lines["clip-l14"].metrics
    assert lines["pick-h14"].state == "missing"


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)


def beheaded(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(60)


def without(word: str) -> Callable[[Path], None]:
    return lambda path: save_file({k: v for k, v in load_file(path).items() if word not in k}, path)


def with_more(path: Path) -> None:
    save_file(load_file(path) | {"a.new.head": torch.zeros(1)}, path)


def reshaped(path: Path) -> None:
    state = load_file(path)
    name = next(name for name in state if name.endswith("class_embedding"))
    save_file(state | {name: torch.zeros(3)}, path)


FAULTS: list[tuple[str, Callable[[Path], object], str]] = [
    ("truncated", cut, "is cut short: it needs"),
    ("header cut", beheaded, "is cut short: its header"),
    ("empty", lambda path: path.write_bytes(b""), "is not a safetensors file"),
    ("a page", lambda path: path.write_text("<!doctype html>" * 9), "is not a safetensors file"),
    ("a pointer", lambda path: path.write_text("version https://git-lfs"), "is not a safetensors file"),
    ("shape", reshaped, "1 tensor is of another shape"),
    ("missing key", without("class_embedding"), "1 tensor is missing, such as"),
    ("extra key", with_more, "1 tensor is unknown, such as a.new.head"),
    ("vision only", without("text_"), "so it is not the whole model"),
]


@pytest.mark.parametrize(("fault", "spoil", "said"), FAULTS, ids=[row[0] for row in FAULTS])
@pytest.mark.parametrize("name", ["clip-l14", "viclip-l14"])
def test_a_spoilt_file_is_one_clear_line(
    name: str, fault: str, spoil: Callable[[Path], object], said: str, folder: Path
) -> None:
    spoil(Weights(folder).file(name))
    state, text = states(folder, name)
    assert state == "broken" and said in text and "\n" not in text


def test_old_position_numbers_are_no_fault(folder: Path) -> None:
    path = Weights(folder).file("clip-l14")
    extra = {"text_model.embeddings.position_ids": torch.arange(3)}
    save_file(load_file(path) | extra, path)
    assert states(folder, "clip-l14")[0] == "ok"


def test_a_clip_without_words_is_reported(folder: Path) -> None:
    (folder / "clip-vit-large-patch14" / "vocab.json").unlink()
    assert "lacks a tokenizer" in states(folder, "clip-l14")[1]


def test_the_hubs_cache_is_found_offline(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "hub" / "models--openai--clip-vit-large-patch14"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("abc123")
    (home / "snapshots").mkdir()
    os.rename(folder / "clip-vit-large-patch14", home / "snapshots" / "abc123")
    record = Weights(tmp_path / "none").describe("clip-l14")
    assert record["revision"] == "abc123" and record["files"] == ["model.safetensors"] and len(record["sha256"]) == 64


def test_download_while_offline_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"clip-l14: [^\n]+$"):
        Weights(tmp_path, download=True).find("clip-l14")


def test_a_record_is_plain_json(folder: Path) -> None:
    record = Weights(folder).describe("viclip-l14")
    assert json.loads(json.dumps(record)) == record and record["revision"] is None and record["size"] > 1000


def test_a_repository_with_a_pickle_of_tensors_alone_gives_the_same_features(folder: Path) -> None:
    home = folder / "clip-vit-large-patch14"
    picture, weights = torch.rand(1, 3, 224, 224), Weights(folder)
    expected = load_quietly(CLIPModel, home).get_image_features(picture)
    torch.save(load_file(home / "model.safetensors"), home / "pytorch_model.bin")
    (home / "model.safetensors").unlink()
    assert weights.file("clip-l14") == home / "pytorch_model.bin" and states(folder, "clip-l14")[0] == "ok"
    torch.testing.assert_close(features(load_quietly(CLIPModel, home).get_image_features(picture)), features(expected))


def test_a_pickle_that_runs_code_is_not_run(folder: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    home = folder / "clip-vit-large-patch14"
    torch.save(load_file(home / "model.safetensors") | {"trap": Trap()}, home / "pytorch_model.bin")
    (home / "model.safetensors").unlink()
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        load_quietly(CLIPModel, home)
    assert not (tmp_path / "ran").exists()


def test_a_repository_without_weights_is_reported_after_the_download(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "clip-vit-large-patch14" / "model.safetensors").unlink()
    patterns: list[list[str]] = []

    def snapshot(repository: str, files: list[str], **options: Any) -> Path:
        patterns.append(files)
        return folder / "clip-vit-large-patch14"

    monkeypatch.setattr(hub, "snapshot", snapshot)
    with pytest.raises(ModelError, match=r"holds no model.safetensors or pytorch_model.bin"):
        Weights(tmp_path / "none", download=True).find("clip-l14")
    assert [files[-1] for files in patterns] == ["model.safetensors", "pytorch_model.bin"]
