"""Simulated studies, whose truth is known, come out of the analysis inside its intervals."""

import csv
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from eve_cli.cli.app import run
from eve_cli.rating import study
from eve_cli.rating.analyze import analyze
from eve_cli.rating.settings import AnalyzeSettings
from eve_cli.rating.votes import read_votes
from tests.rating.studies import RaterModel, make_study, simulate

pytestmark = pytest.mark.usefixtures("no_videos")
GOOD = {"text": 0.9, "structure": 0.4, "quality": 0.0}  # how much better ours is, as a log strength


def bradley_terry_rater(strength: Callable[[str, str, str], float]) -> RaterModel:
    """A rater who prefers by strength (system, question, video), and sees wrecks for what they are."""

    def rater_model(rng: random.Random, shown: Sequence[str], question: str, video: str) -> int:
        weights = [0.0 if name == "(pixelated)" else math.exp(strength(name, question, video)) for name in shown]
        return rng.choices(range(1, len(shown) + 1), weights)[0]

    return rater_model


def uneven(seed: int) -> Callable[[str], float]:
    """A seeded difference between videos, which makes the votes on one video alike."""
    return lambda video: random.Random(f"{seed} {video}").gauss(0, 0.6)


def analyzed(folder: Path, **settings: object) -> dict:
    return analyze(read_votes(AnalyzeSettings(folder, **settings)))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_systems_are_recovered(seed: int, tmp_path: Path) -> None:
    folder = make_study(tmp_path, ("ours", "theirs"), 30, seed=seed)
    by_video = uneven(seed)
    simulate(folder, 6, bradley_terry_rater(lambda s, q, v: (s == "ours") * (GOOD[q] + by_video(v))), seed)
    found = analyzed(folder)
    assert found["votes"] == 30 * 2 * 6 * 3 and (found["items"], found["videos"]) == (60, 30)
    for row in found["pairs"][:3]:
        truths = [1 / (1 + math.exp(-GOOD[row["question"]] - by_video(f"v{n}"))) for n in range(30)]
        share, low, high = row["cluster"]
        assert low < sum(truths) / 30 < high and share == pytest.approx(row["share"], abs=1e-6)
        assert high - low > row["wilson"][2] - row["wilson"][1]  # votes on one video are alike
    text, structure, quality, whole = found["pairs"]
    assert text["p"] < 1e-6 and text["cluster"][1] > 0.5 and quality["p"] > 0.01
    assert whole["share"] == pytest.approx(sum(row["share"] for row in (text, structure, quality)) / 3)
    assert 0 < text["alpha"] < 0.5 and abs(found["positions"]["first"][0] - 0.5) < 0.04
    assert all(rater["passed"] == rater["caught"] > 0 for rater in found["raters"])


def test_the_interval_holds_the_truth_as_often_as_it_says(tmp_path: Path) -> None:
    folder = make_study(tmp_path, ("ours", "theirs"), 15, questions="text")
    held, studies = 0, 40
    for seed in range(studies):
        # Videos and raters are drawn too: the truth is the mean over all that could have been.
        videos, raters = uneven(seed), random.Random(seed)
        rater_model = bradley_terry_rater(lambda s, q, v, videos=videos: (s == "ours") * (0.5 + videos(v)))
        simulate(folder, 4, rater_model, seed + raters.getrandbits(8))
        _, low, high = analyzed(folder, draws=400)["pairs"][0]["cluster"]
        held += low < 0.6095 < high
    assert held >= 0.88 * studies


def test_three_systems_are_recovered_on_one_scale(tmp_path: Path) -> None:
    true = {"ours": 0.8, "theirs": 0.0, "third": -0.5}
    folder = make_study(tmp_path, tuple(true), 20)
    simulate(folder, 4, bradley_terry_rater(lambda s, q, v: true.get(s, 0.0)))
    found = analyzed(folder)
    mean = sum(true.values()) / 3
    rows = [row for row in found["bradley_terry"] if row["question"] == "all"]
    assert [row["system"] for row in rows] == list(true) and len(found["bradley_terry"]) == 12
    for row in rows:
        score, low, high = row["score"]
        truth = 1000 + 400 * (true[row["system"]] - mean) / math.log(10)
        assert low < truth < high and low < score < high < low + 120
    assert len(found["pairs"]) == 3 * 4
    ours = next(row for row in found["pairs"] if (row["a"], row["b"], row["question"]) == ("ours", "third", "all"))
    assert ours["cluster"][1] < 1 / (1 + math.exp(-1.3)) < ours["cluster"][2]


def test_scores_and_the_success_rate(tmp_path: Path) -> None:
    folder = make_study(tmp_path, ("ours", "theirs"), 12, mode="scores", catch=0.1)
    bad = {f"v{n}" for n in range(4)}  # videos on which ours misses the text

    def rater_model(rng: random.Random, shown: Sequence[str], question: str, video: str) -> int:
        if shown[0].startswith("("):
            return 1 if shown[0] == "(pixelated)" else 5
        if shown[0] == "ours":
            return 1 if question == "text" and video in bad else rng.choice((4, 5))
        return rng.choice((1, 2, 3))

    simulate(folder, 3, rater_model)
    found = analyzed(folder)
    ours, theirs = found["success"]
    assert (ours["system"], ours["edits"], ours["successes"]) == ("ours", 24, 16)
    assert ours["wilson"][1] < 2 / 3 < ours["wilson"][2] and ours["cluster"][1] < 2 / 3 < ours["cluster"][2]
    assert theirs["successes"] < 8
    rows = {(row["system"], row["question"]): row for row in found["scores"]}
    assert rows["ours", "quality"]["mean"] == pytest.approx(4.5, abs=0.25) and rows["ours", "text"]["sd"] > 1.5
    assert rows["ours", "text"]["n"] == 24 * 3 and rows["ours", "text"]["edits"] == 24
    assert all(rater["passed"] == rater["caught"] > 0 for rater in found["raters"]) and found["positions"] is None


def test_the_best_of_four(tmp_path: Path) -> None:
    true = {"ours": 1.2, "b": 0.0, "c": 0.0, "d": 0.0}
    folder = make_study(tmp_path, tuple(true), 15, mode="best")
    simulate(folder, 4, bradley_terry_rater(lambda s, q, v: true[s]))
    found = analyzed(folder)
    share = math.exp(1.2) / (math.exp(1.2) + 3)
    for question in found["questions"]:
        rows = [row for row in found["best"] if row["question"] == question]
        assert sum(row["share"] for row in rows) == pytest.approx(1) and {row["chance"] for row in rows} == {0.25}
        assert rows[0]["cluster"][1] < share < rows[0]["cluster"][2]


def test_ties_count_half_and_are_reported_apart(tmp_path: Path) -> None:
    folder = make_study(tmp_path, ("ours", "theirs"), 10, ties=True, catch=0.0)
    simulate(folder, 2, lambda rng, shown, q, v: 0 if q == "quality" else shown.index("ours") + 1)
    text, structure, quality, _ = analyzed(folder)["pairs"]
    assert (quality["ties"], quality["share"], quality["without_ties"], quality["p"]) == (40, 0.5, None, 1.0)
    assert (text["wins"], text["ties"], text["share"], text["majority"]["wins"]) == (40, 0, 1.0, 20)
    assert structure["p"] == pytest.approx(2 * 0.5**40)


def test_a_rater_who_sleeps_is_seen_and_can_be_left_out(tmp_path: Path) -> None:
    folder = make_study(tmp_path, ("ours", "theirs"), 20, catch=0.2)
    awake = bradley_terry_rater(lambda s, q, v: (s == "ours") * 3.0)
    simulate(folder, 3, awake)
    asleep = folder / "answers-r02.jsonl"
    lines = [json.loads(line) for line in asleep.read_text().splitlines()]
    asleep.write_text("".join(json.dumps({**line, "choice": 1} if "choice" in line else line) + "\n" for line in lines))
    found = analyzed(folder)
    good, _, sleepy = found["raters"]
    assert good["passed"] == good["caught"] and sleepy["passed"] == sleepy["caught"] / 2
    assert sleepy["first"][0] == 1.0 > good["first"][0]
    votes = read_votes(AnalyzeSettings(folder, least=0.9))
    assert [rater.included for rater in votes.raters] == [True, True, False]
    assert "r02 is excluded" in votes.notes[-1]
    without = analyze(votes)
    assert without["votes"] == found["votes"] * 2 / 3 and without["pairs"][0]["share"] > found["pairs"][0]["share"]


def test_broken_trials_do_not_count(tmp_path: Path) -> None:
    folder = make_study(tmp_path, ("ours", "theirs"), 3, catch=0.0)
    plan = simulate(folder, 1, lambda rng, shown, q, v: 1)
    with (folder / "answers-r00.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "broken", "seat": 0, "trial": plan.trials[0].id}) + "\n")
    found = analyzed(folder)
    assert found["votes"] == 5 * 3 and found["raters"][0]["broken"] == 1


def test_the_command_writes_the_same_files_each_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_study(tmp_path, ("ours", "theirs", "third"), 4, catch=0.2)
    simulate(folder, 2, bradley_terry_rater(lambda s, q, v: 0.0))
    assert run(["rate", "analyze", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "## Bradley–Terry" in text and "| ours over theirs | text |" in text and "catch trials passed" in text
    files = [folder / name for name in ("votes.csv", "summary.json", "summary.md")]
    first = [file.read_bytes() for file in files]
    assert run(["rate", "analyze", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(files[1].read_text())
    assert [file.read_bytes() for file in files] == first
    rows = list(csv.DictReader(files[0].read_text().splitlines()))
    plan = study.load(folder)
    assert len(rows) == 2 * 3 * (len(plan.trials) + len(plan.checks))
    assert {row["winner"] for row in rows if not row["catch"]} == {"ours", "theirs", "third"}
    for row in rows:
        assert row["winner"] == (row["left"], row["right"])[int(row["choice"]) - 1]
