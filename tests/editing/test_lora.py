"""An edit with a LoRA: it acts, its token is no unknown word, and the record holds it to the same weights."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from eve_cli.cli.app import run
from eve_cli.models import bundle, bundle_manifest, lora
from eve_cli.models.lora import Lora
from tests.clips import make_clip
from tests.tiny import lora_weights, tiny_bundle


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model under the name of the default one, and a LoRA `toy` for it."""
    home = tmp_path_factory.mktemp("home")
    model = tiny_bundle(home / "mini")
    low_rank = lora_weights(bundle.load(model))
    lora.save(Lora(low_rank, "<toy>", "subject", "mini", bundle_manifest.read(model).backbone), home / "toy")
    return home


@pytest.fixture
def desk(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("EVE_WEIGHTS", str(home))
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.mkv", 5)
    lora.save(lora.load(home / "toy"), tmp_path / "toy")
    yield tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("method", ["eve", "per_frame"])
def test_it_acts_and_its_token_is_known(method: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["edit", "clip.mkv", "add a <Toy>", "--seed", "3", "--method", method, "--steps", "2"]
    assert run([*words, "-o", "plain.mp4"]) == 0
    assert '"toy"' in capsys.readouterr().err
    assert run([*words, "-o", "with_lora.mp4", "--lora", "toy"]) == 0
    said = capsys.readouterr().err
    assert "vocabulary" not in said and "lora <toy>" in said
    assert Path("plain.mp4").read_bytes() != Path("with_lora.mp4").read_bytes()


def test_the_record_holds_it(desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from eve_cli.editing import pipeline

    words = ["edit", "clip.mkv", "add a <toy>", "-o", "out.mp4", "--lora", "toy", "--steps", "2", "-q"]
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "render", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        assert run(words) == 130
    assert run(["resume", "out.eve-run", "-q"]) == 0
    kept = json.loads(Path("out.run.json").read_text())
    assert kept["model"]["lora"] == {"token": "<toy>", "kind": "subject"} and kept["settings"]["lora"] == "toy"
    assert kept["model"]["sha256"]["lora/pytorch_lora_weights.safetensors"] == lora.load("toy").sha256
    assert run(["rerun", "out.run.json", "-o", "again.mp4", "-q"]) == 0
    assert Path("again.mp4").read_bytes() == Path("out.mp4").read_bytes()
    found = lora.load("toy")
    lora.save(dataclasses.replace(found, weights={k: v * 2 for k, v in found.weights.items()}), "toy")
    capsys.readouterr()
    assert run(["rerun", "out.run.json", "-o", "third.mp4"]) == 4
    assert "lora/pytorch_lora_weights.safetensors changed" in capsys.readouterr().err


def test_results_with_and_without_do_not_share_a_name(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["edit", "clip.mkv", "night", "--seed", "3", "--steps", "1", "-q"]
    assert run(words) == 0 and run([*words, "--lora", "toy"]) == 0
    assert len(set(capsys.readouterr().out.split())) == 2
