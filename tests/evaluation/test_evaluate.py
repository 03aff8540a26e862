"""A run over edits: its files, its rows, what is missing, and going on."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eve_cli.cli import app
from eve_cli.errors import OutputError, UsageError
from eve_cli.evaluation import clip_loader, compare, evaluate, results, scorer, sets
from eve_cli.evaluation.evaluate import Evaluation
from eve_cli.evaluation.metrics import METRICS
from eve_cli.evaluation.settings import EvalSettings
from eve_cli.evaluation.weights import Weights
from tests.evaluation.clips import Light, grey, manifest


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"light": "tests.evaluation.clips:Light", "far": "tests.evaluation.clips:Missing"}
    monkeypatch.setattr(scorer, "METRICS", rows)
    monkeypatch.setattr(Light, "scored", [])


def judge(file: Path, out: Path, resume: bool = False, **more: object) -> Evaluation:
    settings = EvalSettings(manifest=file, out=out, resume=resume, videos=False, **more)  # pyright: ignore
    evaluate.prepare(out, resume, False)
    return evaluate.evaluate(sets.from_manifest(file).with_copy(), settings)


def test_the_same_input_gives_the_same_csv(tmp_path: Path) -> None:
    file = manifest(tmp_path, "a", "b", "c")
    outcomes = [judge(file, tmp_path / name) for name in ("x", "y")]
    texts = [(tmp_path / name / "per_edit.csv").read_bytes() for name in ("x", "y")]
    assert texts[0] == texts[1]
    rows = list(csv.DictReader(texts[0].decode().splitlines()))
    assert [(row["method"], row["id"], row["light"], row["lighter"]) for row in rows] == [
        ("edits", "a", "110.000000", "10.000000"),
        ("edits", "b", "120.000000", "20.000000"),
        ("edits", "c", "130.000000", "30.000000"),
        *(("input copied", name, "100.000000", "0.000000") for name in "abc"),
    ]
    values = outcomes[0].summary
    assert values["methods"]["edits"]["lighter"]["mean"] == 20 and values["data"]["videos"] == 2
    assert values["methods"]["edits"]["lighter"]["tasks"]["style"]["mean"] == 20
    assert values["against"]["input copied"]["lighter"]["verdict"] == "worse"
    assert values["not_run"] == {"far": "weights missing. Put them there."}
    assert "not run: far: weights missing" in (tmp_path / "x/summary.md").read_text()
    read = results.read(tmp_path / "x")
    assert read.values("edits", "lighter") == [10, 20, 30] and read.columns[0].recipe == "test/light"


def test_groups_are_metrics_and_no_metric_comes_twice() -> None:
    assert (
        scorer.expand_groups("core,light") == ["light", "far"]
        and scorer.expand_groups("tgve,clip_text, far")[-1] == "far"
    )
    assert scorer.expand_groups("all") == ["light", "far"]


def test_without_sources_what_needs_none_is_judged(tmp_path: Path) -> None:
    pair = replace(sets.from_manifest(manifest(tmp_path, "a")).pairs[0], source=tmp_path / "gone")
    asked = sets.EvalSet("x", {"edits": [pair]}).with_copy()
    assert list(asked.methods) == ["edits"]
    loaded = clip_loader.ClipLoader().load("edits", pair)
    assert loaded.clip is not None and loaded.clip.source is None and "does not exist" in loaded.clip.notes[0]
    found = scorer.select_metrics("light", Weights(), "cpu", asked.pairs)
    assert found.not_run == {"light": "the source does not exist"} and not found.ready


def test_what_fails_is_nan_with_a_reason(tmp_path: Path) -> None:
    file = manifest(tmp_path, "a", "bad", "odd", "gone")
    for picture in (tmp_path / "edits/3").iterdir():
        picture.unlink()
    outcome = judge(file, tmp_path / "x")
    found = {row.id: row for row in outcome.results.rows["edits"]}
    assert found["bad"].error == "light: too dark to see." and math.isnan(found["bad"].values["light"])
    assert "no images found" in found["gone"].error
    assert found["odd"].notes == ["it has no source light"] and not found["odd"].error
    assert outcome.summary["methods"]["edits"]["light"] == {
        **outcome.summary["methods"]["edits"]["light"], "n": 2, "of": 4, "mean": 120.0
    }  # fmt: skip
    assert any("2 of 4 edits" in line for line in outcome.summary["warnings"])
    assert [row["id"] for row in outcome.summary["failed"]] == ["bad", "gone", "bad"]


def test_going_on_judges_only_what_is_missing(tmp_path: Path) -> None:
    file = manifest(tmp_path, "a", "b")
    judge(file, tmp_path / "x")
    first = (tmp_path / "x/per_edit.csv").read_bytes()
    with pytest.raises(OutputError, match="--resume"):
        judge(file, tmp_path / "x")
    scores = tmp_path / "x/scores.jsonl"
    lines = scores.read_text().splitlines()
    scores.write_text("\n".join([*lines[:-1], lines[-1][:20]]))  # cut short
    Light.scored.clear()
    judge(file, tmp_path / "x", resume=True)
    assert len(Light.scored) == 1 and (tmp_path / "x/per_edit.csv").read_bytes() == first
    grey(tmp_path / "edits/0", 50, 50)
    Light.scored.clear()
    assert judge(file, tmp_path / "x", resume=True).results.values("edits", "light") == [50, 120]
    assert Light.scored == ["a"]


def test_clips_of_different_length_and_size_meet_by_a_rule(tmp_path: Path) -> None:
    pair = sets.from_manifest(manifest(tmp_path, "a")).pairs[0]
    long = replace(pair, edited=grey(tmp_path / "long", 0, 50, 100, 150, size=(32, 24)))
    clip = clip_loader.ClipLoader(clip_loader.FrameSelection("first")).load("edits", long).clip
    assert clip is not None and clip.source is not None and clip.edited.shape == clip.source.shape == (2, 3, 12, 16)
    assert clip.edited[:, 0, 0, 0].tolist() == [0, 50]
    assert any("2 are compared, first" in note for note in clip.notes) and "from 32x24" in clip.notes[-1]
    spread = clip_loader.ClipLoader(clip_loader.FrameSelection("spread")).load("edits", long).clip
    assert spread is not None and spread.edited[:, 0, 0, 0].tolist() == [0, 150]
    one = clip_loader.ClipLoader(clip_loader.FrameSelection(max_frames=1)).load("edits", long).clip
    assert one is not None and len(one.edited) == 1


def test_a_mask_is_white_of_one_picture_or_of_each_frame() -> None:
    mask = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    mask[..., :2] = 255
    found = clip_loader.as_mask(mask, 3, (8, 8))
    assert found.shape == (3, 8, 8) and found[:, :, :4].min() == 1 and found[:, :, 4:].max() == 0


def test_the_page_escapes_every_text_and_fetches_nothing(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script>{{data}}<img src=x onerror=alert(1)>"
    judge(manifest(tmp_path, "a", "b", methods=("x<b>y",), instruction=hostile, task=hostile), tmp_path / "x")
    page = (tmp_path / "x/index.html").read_text()
    assert "alert(1)</script>" not in page and "<img" not in page and "x<b>y" not in page
    assert page.count("</script>") == 2 and "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    start = page.index('type="application/json">') + len('type="application/json">')
    assert json.loads(page[start : page.index("</script>", start)])["edits"][0]["instruction"] == hostile
    assert (tmp_path / "x/plots/light.png").stat().st_size > 1000


def test_videos_are_written_once_for_each_clip(tmp_path: Path) -> None:
    file = manifest(tmp_path, "a", "b")
    settings = EvalSettings(manifest=file, out=tmp_path / "x")
    evaluate.prepare(settings.out, False, False)
    evaluate.evaluate(sets.from_manifest(file).with_copy(), settings)
    assert len(list((tmp_path / "x/media").iterdir())) == 3  # one source, two edits
    assert len(Light.scored) == 4


@pytest.mark.parametrize(("more", "code"), [([], 7), (["--allow-partial"], 0)])
def test_missing_edits_fail_the_check(
    tmp_path: Path, more: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    file = manifest(tmp_path, "a", "bad")
    words = ["eval", "run", "--manifest", str(file), "--out", str(tmp_path / "x"), "--no-videos", *more]
    assert app.run(words) == code
    out, err = capsys.readouterr()
    assert "| light | test/light | ↑ |" in out and "1/2" in out
    assert ("bad: light: too dark to see" in err) == bool(code)


def test_two_runs_are_compared_edit_by_edit(tmp_path: Path) -> None:
    judge(manifest(tmp_path, "a", "b", "c", "d", methods=("one", "two")), tmp_path / "x")
    values = compare.compare(f"{tmp_path}/x:two", f"{tmp_path}/x:one")
    found = values["columns"]["light"]
    assert found["difference"] == [5, 5, 5] and found["wins"] == 4 and found["verdict"] == "better"
    assert found["p"] == 0.5 and found["tasks"]["add"]["n"] == 2  # two videos, both won
    compare.write(tmp_path / "c", values, f"{tmp_path}/x:two", f"{tmp_path}/x:one")
    assert (tmp_path / "c/light.svg").is_file() and "x:two minus x:one" in (tmp_path / "c/compare.md").read_text()
    with pytest.raises(UsageError, match="no method 'three'"):
        compare.compare(f"{tmp_path}/x:three", f"{tmp_path}/x")


def test_columns_of_other_recipes_are_not_compared(tmp_path: Path) -> None:
    judge(manifest(tmp_path, "a", "b"), tmp_path / "x")
    judge(manifest(tmp_path, "a", "b"), tmp_path / "y")
    kept = results.read_json(tmp_path / "y/run.json")
    kept["columns"][0]["recipe"] = "test/other"
    results.write_json(tmp_path / "y/run.json", kept)
    values = compare.compare(str(tmp_path / "x"), str(tmp_path / "y"))
    assert list(values["columns"]) == ["lighter"] and "another recipe" in values["skipped"][0]


def test_the_record_says_how_and_keeps_no_secret(tmp_path: Path) -> None:
    words = ["eval", "--token", "abc", "--api-key=abc", "hf_abcdefghij", "https://me:pass@host/x", "--out", "x"]
    hidden = evaluate.without_secrets(words)
    assert hidden == ["eval", "--token", "***", "--api-key=***", "***", "https://***@host/x", "--out", "x"]
    file = manifest(tmp_path, "a")
    judge(file, tmp_path / "x")
    kept = results.read_json(tmp_path / "x/run.json")
    assert kept["columns"][0]["recipe"] == "test/light" and kept["data"]["files"][0]["name"] == "pairs.jsonl"
    assert len(kept["data"]["files"][0]["sha256"]) == 64 and "torch" in kept["versions"]


def test_every_metric_is_listed_with_its_recipes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["eval", "ls", "--weights", str(tmp_path), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in listed] == list(METRICS)
    names = [column["name"] for each in listed for column in each["columns"]]
    assert len(set(names)) == len(names)
    assert all(column["recipe"] and column["better"] in (-1, 0, 1) for each in listed for column in each["columns"])
