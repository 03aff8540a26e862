"""Methods over clips: every edit is made once, by a model that is loaded once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from eve_cli.cli import app
from eve_cli.errors import ModelError, UsageError
from eve_cli.evaluation import bench, scorer, sets
from eve_cli.evaluation.pairs import Footage
from eve_cli.evaluation.sets import COPIED
from eve_cli.evaluation.settings import BenchSettings
from eve_cli.methods.registry import METHODS
from eve_cli.models.loading import LoadedModel
from eve_cli.models.spec import ModelSpec
from tests.evaluation.clips import grey, manifest
from tests.fakes import FakeEditor
from tests.tiny import tiny_bundle


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[ModelSpec]:
    """Edits are made by a fake; each loading of a model is noted."""
    specs: list[ModelSpec] = []

    def load(spec: ModelSpec) -> LoadedModel:
        specs.append(spec)
        return LoadedModel(FakeEditor(gain=0.5), spec.name, {})  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(bench, "load_model", load)
    monkeypatch.setattr(scorer, "METRICS", {"light": "tests.evaluation.clips:Light"})
    return specs


def settings_of(folder: Path, **more: object) -> BenchSettings:
    file = manifest(folder, "a/../b", "c", instruction="make it dark")
    return BenchSettings(data=str(file), out=folder / "out", methods="eve,per_frame,copy", **more)  # pyright: ignore


def test_every_edit_is_made_once(tmp_path: Path, loads: list[ModelSpec]) -> None:
    settings = settings_of(tmp_path)
    bench.check_folder(settings)
    asked = bench.BenchRunner(settings).run(bench.data(settings))
    assert list(asked.methods) == ["eve", "per_frame", COPIED] and len(loads) == 1
    edited = [pair.edited for pair in asked.methods["eve"]]
    assert all(path is not None and path.parent == settings.out / "edits/eve" for path in edited)
    assert edited[0] is not None and Footage.read(edited[0]).frames.shape == (2, 3, 12, 16)
    assert all(pair.edited == pair.source for pair in asked.methods[COPIED])
    edited[0].unlink()
    loads.clear()
    before = {path: path.stat().st_mtime_ns for path in (settings.out / "edits").rglob("*.mkv")}
    bench.check_folder(settings)
    bench.BenchRunner(settings).run(bench.data(settings))
    after = {path: path.stat().st_mtime_ns for path in (settings.out / "edits").rglob("*.mkv")}
    assert len(loads) == 1 and [path for path in after if after[path] != before.get(path)] == [edited[0]]


def test_all_are_all_methods_and_each_gets_the_captions_that_it_reads(tmp_path: Path, loads: list) -> None:
    file = manifest(tmp_path, "c", instruction="make it dark", input_caption="a car", output_caption="a dark car")
    settings = BenchSettings(data=str(file), out=tmp_path / "out", methods="all,all@runs/b")
    asked = bench.entries(settings.methods, settings.model)
    assert [entry.name for entry in asked][: len(METHODS)] == [COPIED if m == "copy" else m for m in METHODS]
    requests = {e.method: bench.BenchRunner(settings)._base_request(e, bench.data(settings).pairs[0]) for e in asked}
    assert requests["dds"].options.source_caption == requests["pnp"].options.source_caption == "a car"  # type: ignore[attr-defined]
    assert requests["eve"].caption == "a dark car" and not hasattr(requests["eve"].options, "source_caption")


def test_what_makes_no_sense_is_reported_before_anything_is_loaded(tmp_path: Path, loads: list[ModelSpec]) -> None:
    settings = replace(settings_of(tmp_path), methods="copy,eve,dds")
    with pytest.raises(UsageError, match=r"^--methods dds cannot do the edit \S+: .* give --source-caption"):
        bench.BenchRunner(settings).run(bench.data(settings))
    with pytest.raises(UsageError, match=r"^--methods pnp cannot do the edit \S+: .* give --steps 2 or more"):
        bench.BenchRunner(replace(settings, methods="eve,pnp", steps=1)).run(bench.data(settings))
    assert not loads
    model = tiny_bundle(tmp_path / "lone", video=False)
    with pytest.raises(ModelError, match=r"has no video adapter, which --method eve needs: .* per_frame, .*pnp"):
        bench.check_folder(replace(settings, methods="pnp,eve", model=str(model)))


def test_a_folder_holds_edits_of_one_kind(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    bench.check_folder(settings)
    with pytest.raises(UsageError, match="another --steps"):
        bench.check_folder(replace(settings, steps=3))


def test_an_edit_that_fails_is_reported_and_the_others_are_made(tmp_path: Path, loads: list[ModelSpec]) -> None:
    settings = settings_of(tmp_path)
    for picture in (tmp_path / "s0").iterdir():
        picture.write_bytes(b"no picture")
    grey(tmp_path / "s1", 100, 100)
    asked = bench.data(settings)
    second = replace(asked.pairs[1], source=tmp_path / "s1")
    made = bench.BenchRunner(settings).run(replace(asked, methods={"edits": [asked.pairs[0], second]}))
    first, second = made.methods["eve"]
    assert first.edited is None and first.notes.startswith("the edit failed") and second.edited is not None


def test_edits_made_elsewhere_stand_beside_our_own(tmp_path: Path, loads: list[ModelSpec]) -> None:
    grey(tmp_path / "others/c", 90, 90)
    settings = replace(settings_of(tmp_path), methods=f"copy,other={tmp_path}/others")
    asked = bench.BenchRunner(settings).run(bench.data(settings))
    assert [pair.edited for pair in asked.methods["other"]] == [None, tmp_path / "others/c"]


@pytest.mark.parametrize("methods", ["", "eve,eve", "eva", "x=/nowhere"])
def test_wrong_methods_are_reported(methods: str) -> None:
    with pytest.raises(UsageError):
        bench.entries(methods, "mini")


def test_names_of_files_are_safe_and_differ() -> None:
    assert bench.safe_name("gold-fish.style") == "gold-fish.style"
    assert "/" not in bench.safe_name("../a") and bench.safe_name("a b") != bench.safe_name("a/b")
    assert len(bench.safe_name("x" * 300)) < 100


def test_the_world_is_drawn_with_its_truth(tmp_path: Path) -> None:
    settings = BenchSettings(out=tmp_path, tasks="local", each=1, frames=2, side=32, methods="copy")
    (pair,) = bench.data(settings).pairs
    assert pair.truth is not None and pair.reference is not None
    assert Footage.read(pair.source).frames.shape == Footage.read(pair.reference).frames.shape == (2, 3, 32, 32)
    before = pair.truth.stat().st_mtime_ns
    again = bench.data(settings).pairs[0]
    assert again == pair and pair.truth.stat().st_mtime_ns == before
    assert sets.from_manifest(tmp_path / "clips/pairs.jsonl").pairs == [pair]


def test_one_command_edits_and_judges(
    tmp_path: Path, loads: list[ModelSpec], capsys: pytest.CaptureFixture[str]
) -> None:
    file = manifest(tmp_path, "a", "b", instruction="make it dark")
    words = ["bench", "--data", str(file), "--methods", "eve,copy", "--out", str(tmp_path / "out")]
    assert app.run(words) == 0
    assert "| metric | recipe |  | eve | input copied |" in capsys.readouterr().out
    loads.clear()
    assert app.run(words) == 0 and not loads
