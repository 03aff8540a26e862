"""What raters get to see: balanced, blind, and the same for the same seed."""

import json
import math
from collections import Counter
from pathlib import Path

import pytest

from eve_cli.cli.app import run
from eve_cli.errors import InputError, OutputError, UsageError
from eve_cli.media.decode import probe
from eve_cli.rating import create, study
from eve_cli.rating.settings import CreateSettings
from tests.rating.studies import make_study, manifests

SYSTEMS = {"pairwise": ("ours", "theirs"), "scores": ("ours", "theirs"), "best": ("ours", "theirs", "third")}
fast = pytest.mark.usefixtures("no_videos")
every_mode = pytest.mark.parametrize("mode", SYSTEMS)


@fast
@every_mode
def test_each_system_stands_at_each_place_equally_often(mode: str, tmp_path: Path) -> None:
    folder = make_study(tmp_path, SYSTEMS[mode], 6, mode=mode)
    plan, key = study.load(folder), study.load_key(folder)
    places = len(plan.trials[0].edits)
    by_item, by_rater = Counter(), [Counter() for _ in range(places)]
    for seat in range(places):
        for trial in plan.trials_for(seat):
            if trial.id not in key["checks"]:
                system = key["media"][trial.edits[0]]["system"]
                by_item[trial.id, system] += 1
                by_rater[seat][system] += 1
    assert set(by_item.values()) == {1}
    assert all(len(set(counts.values())) == 1 for counts in by_rater)


@fast
@every_mode
def test_nothing_that_is_served_tells_a_system_or_a_catch_trial(mode: str, tmp_path: Path) -> None:
    folder = make_study(tmp_path, SYSTEMS[mode], 6, mode=mode, catch=0.2)
    plan, key = study.load(folder), study.load_key(folder)
    text = (folder / study.PLAN).read_text()
    assert not [word for word in (*SYSTEMS[mode], "v0.style", str(tmp_path), "obvious", "wrecked") if word in text]
    assert {path.name for path in (folder / study.MEDIA).iterdir()} == plan.media == set(key["media"])
    assert (folder / study.KEY).stat().st_mode & 0o077 == 0
    assert {check["kind"] for check in key["checks"].values()} == {"obvious", "same"}
    for seat in (0, 1):
        trials = plan.trials_for(seat)
        assert sorted(trial.id for trial in trials) == sorted(t.id for t in (*plan.trials, *plan.checks))
        assert trials[0].id not in key["checks"]
        assert all(len({trial.source, *trial.edits}) == len(trial.edits) + 1 for trial in trials)
    ids = sorted(trial.id for trial in plan.checks)
    assert ids != [f"t{len(plan.trials) + n:04d}" for n in range(1, len(ids) + 1)]


@fast
def test_the_same_seed_gives_the_same_plan_and_another_seed_another(tmp_path: Path) -> None:
    def drawn(name: str, seed: int) -> dict:
        (tmp_path / name).mkdir()
        held = json.loads((make_study(tmp_path / name, SYSTEMS["pairwise"], 6, seed=seed) / study.PLAN).read_text())
        return {**held, "study": ""}

    assert drawn("a", 1) == drawn("b", 1) != drawn("c", 2)


@fast
def test_raters_of_a_part_cover_the_whole_evenly(tmp_path: Path) -> None:
    plan = study.load(make_study(tmp_path, SYSTEMS["pairwise"], 6, each=5, catch=0.0))
    seen = Counter((trial.id, trial.edits) for seat in range(24) for trial in plan.trials_for(seat))
    assert len(plan.trials) == 12 and {len(plan.trials_for(seat)) for seat in range(24)} == {5}
    assert set(seen.values()) == {5}  # 24 raters x 5 trials over 12 items x 2 sides


@fast
def test_three_systems_meet_in_all_pairs_and_questions_take_turns(tmp_path: Path) -> None:
    folder = make_study(tmp_path, SYSTEMS["best"], 3, catch=0.0)
    plan, key = study.load(folder), study.load_key(folder)
    met = Counter(frozenset(key["media"][name]["system"] for name in trial.edits) for trial in plan.trials)
    assert len(met) == 3 and set(met.values()) == {6}
    orders = {tuple(q.id for q in plan.questions_for(seat)) for seat in range(6)}
    assert len(orders) == math.factorial(3)


def test_videos_are_h264_of_even_size_without_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = manifests(tmp_path, SYSTEMS["pairwise"], 2, real=True)
    out = tmp_path / "study"
    assert run(["rate", "create", *words, "--out", str(out), "--size", "33", "--limit", "2"]) == 0
    output = capsys.readouterr()
    assert output.out.strip() == str(out) and "power 2 items x 3 raters" in output.err
    videos = sorted((out / study.MEDIA).iterdir())
    assert {path.stat().st_mtime for path in videos} == {0.0}
    for path in videos:
        info = probe(path)
        assert (info.codec, info.pixel_format) == ("h264", "yuv420p") and info.width % 2 == info.height % 2 == 0
        assert float(info.fps) == 10 and not [word for word in (b"ours", b"theirs") if word in path.read_bytes()]
    assert run(["rate", "create", *words, "--out", str(out)]) == 2
    assert "contains a study already" in capsys.readouterr().err


@fast
def test_edits_that_a_system_lacks_are_left_out_and_counted(tmp_path: Path) -> None:
    words = manifests(tmp_path, SYSTEMS["pairwise"], 3)
    (tmp_path / "theirs" / "v0.style.mkv").unlink()
    drafted = create.draft(CreateSettings(words, out=tmp_path / "study"))
    assert (len(drafted.items), drafted.skipped) == (5, 1)
    for file in (tmp_path / "theirs").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="No edit has a source and results of 2 systems"):
        create.draft(CreateSettings(words, out=tmp_path / "study"))


@fast
def test_folders_of_results_belong_to_a_manifest(tmp_path: Path) -> None:
    words = manifests(tmp_path, SYSTEMS["pairwise"], 2)
    folders = [f"{name}={tmp_path / name}" for name in SYSTEMS["pairwise"]]
    settings = CreateSettings(folders, data=Path(words[0].partition("=")[2]))
    (tmp_path / "theirs" / "v1.style.mkv").unlink()
    drafted = create.draft(settings)
    assert (drafted.systems, len(drafted.items), drafted.skipped) == (SYSTEMS["pairwise"], 3, 1)
    assert drafted.items[0].edits == {name: tmp_path / name / "v0.style.mkv" for name in drafted.systems}


@fast
def test_answers_are_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "answers-ann.jsonl").write_text("{}\n")
    with pytest.raises(OutputError, match="contains answers"):
        make_study(tmp_path, SYSTEMS["pairwise"], 2)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"systems": ["=x.csv"]}, "ours=runs/ours.csv"),
        ({"systems": ["a=x.csv"], "questions": "beauty"}, "no question 'beauty'"),
        ({"systems": ["a=x.csv"], "mode": "scores", "ties": True}, "scores have no ties"),
    ],
)
def test_wrong_settings_are_reported_at_once(settings: dict, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        CreateSettings(**settings)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["{0}"], "compares systems"),
        (["{0}", "{0}"], "Two systems are called 'ours'"),
        (["x={folder}"], "--data must say"),
        (["x={folder}/gone.csv"], "no such file"),
    ],
)
def test_systems_that_cannot_be_compared_are_reported(words: list[str], reason: str, tmp_path: Path) -> None:
    found = manifests(tmp_path, ("ours",), 1)
    given = [word.format(*found, folder=tmp_path) for word in words]
    with pytest.raises((UsageError, InputError), match=reason):
        create.draft(CreateSettings(given))
