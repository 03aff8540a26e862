"""What raters said is never lost: resume, undo, torn files, answers sent twice."""

import json
import os
from pathlib import Path

import pytest

from eve_cli.errors import InputError, UsageError
from eve_cli.rating import answers, study
from eve_cli.rating.analyze import count
from eve_cli.rating.session import Conflict, Desk
from eve_cli.rating.settings import TallySettings
from tests.evaluation.rating.studies import made, no_videos  # noqa: F401

pytestmark = pytest.mark.usefixtures("no_videos")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(made(tmp_path, ("ours", "theirs"), 2))


def say(desk: Desk, state: dict, choice: int = 1, **more: object) -> dict:
    body = {"rater": state["rater"], "trial": state["trial"]["id"], "question": state["question"], "choice": choice}
    return desk.answer({**body, **more})


def file_of(desk: Desk, rater: str = "ann") -> Path:
    return answers.path_of(desk.folder, rater)


def test_a_rater_goes_on_where_they_stopped_and_comes_to_an_end(desk: Desk) -> None:
    state = desk.start({"rater": "Ann"})
    total = state["total"]
    for _ in range(4):
        state = say(desk, state)
    again = Desk(desk.folder).start({"rater": "ann "})
    assert again == state and again["done"] == 1
    assert [question["choice"] for question in again["questions"]] == [1, None, None]
    for _ in range(3 * total - 4):
        state = say(desk, state, 2)
    assert state["trial"] is None and state["done"] == total
    assert desk.undo({"rater": "ann"})["done"] == total - 1


def test_every_answer_is_on_the_disk_before_the_page_goes_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda number: kept.append(os.fstat(number).st_size))
    state = desk.start({"rater": "ann"})
    for _ in range(2):
        state = say(desk, state)
        assert kept[-1] == file_of(desk).stat().st_size


def test_the_same_answer_twice_counts_once_and_another_one_does_not_count(desk: Desk) -> None:
    first = desk.start({"rater": "ann"})
    second = say(desk, first, 1)
    held = file_of(desk).read_bytes()
    assert say(desk, first, 1) == second
    with pytest.raises(Conflict):
        say(desk, first, 2)
    with pytest.raises(Conflict):
        say(desk, {**second, "trial": {"id": "t9999"}})
    assert file_of(desk).read_bytes() == held


@pytest.mark.parametrize("choice", [0, 3, -1, "1", 1.0, True, None, [1], {"a": 1}])
def test_only_the_answers_on_the_page_count(choice: object, desk: Desk) -> None:
    state = desk.start({"rater": "ann"})
    with pytest.raises(UsageError, match="not one of the answers"):
        say(desk, state, choice)  # type: ignore[arg-type]


def test_measurements_that_make_no_sense_are_left_out(desk: Desk) -> None:
    say(desk, desk.start({"rater": "ann"}), rt_ms=1234.6, replays=-1, blurs="<b>", width=10**12)
    line = json.loads(file_of(desk).read_text().splitlines()[-1])
    assert (line["rt_ms"], line["replays"], line["blurs"], line["width"]) == (1234, None, None, None)


def test_undo_takes_back_one_thing_at_a_time_and_keeps_the_record(desk: Desk) -> None:
    start = desk.start({"rater": "ann"})
    state = desk.broken({"rater": "ann", "trial": say(desk, start)["trial"]["id"]})
    assert state["done"] == 1
    assert desk.undo({"rater": "ann"})["question"] != start["question"]
    assert desk.undo({"rater": "ann"}) == start
    assert desk.undo({"rater": "ann"}) == start  # there is nothing left to take back
    kinds = [json.loads(line)["kind"] for line in file_of(desk).read_text().splitlines()]
    assert kinds == ["start", "answer", "broken", "undo", "undo"]


def test_a_file_cut_anywhere_loses_only_the_cut_line(desk: Desk) -> None:
    state = desk.start({"rater": "ann"})
    for choice in (1, 2, 1):
        state = say(desk, state, choice)
    whole = file_of(desk).read_bytes()
    given = [answer["choice"] for answer in answers.read(file_of(desk)).said]
    start = whole.index(b"\n") + 1
    for cut in range(start, len(whole) + 1, 7):
        file_of(desk).write_bytes(whole[:cut])
        complete = whole[:cut].count(b"\n") - 1
        before = desk.start({"rater": "ann"})
        read = answers.read(file_of(desk))
        assert len(read.said) - complete in (0, 1)  # 1 where only the line's end was cut off
        assert [answer["choice"] for answer in read.said] == given[: len(read.said)]
        say(desk, before, 2)
        after = answers.read(file_of(desk))
        assert len(after.said) == len(read.said) + 1 and after.seat == 0
        assert file_of(desk).read_bytes().startswith(whole[:cut])


def test_damage_is_counted_and_told_by_the_tally(desk: Desk) -> None:
    state = say(desk, desk.start({"rater": "ann"}))
    say(desk, state, 2)
    lines = file_of(desk).read_bytes().splitlines(keepends=True)
    strange = [
        b'{"kind": "answer", "seat": 0, "trial": 7, "question": "text", "choice": 1, "shown": []}\n',
        b"[1]\n",
        b"7\n",
    ]
    foreign = b'{"kind": "answer", "seat": 0, "trial": "t9999", "question": "text", "choice": 1, "shown": ["x.mp4"]}\n'
    file_of(desk).write_bytes(b"".join([*lines[:2], b"\0\xff\n", *strange, foreign, lines[2][:30]]))
    counted = count(TallySettings(desk.folder))
    assert len(counted.everything) == 1
    assert counted.notes == [
        "ann: 5 damaged lines were left out",
        "ann: 1 answers do not belong to this study and were left out",
    ]


def test_raters_take_seats_in_turn_and_keep_them(desk: Desk) -> None:
    first, second = desk.start({"rater": "ann"}), desk.start({"rater": "ben"})
    assert [answers.read(file_of(desk, name)).seat for name in ("ann", "ben")] == [0, 1]
    sheets = [desk.plan.sheet(seat) for seat in (0, 1)]
    assert first["trial"]["id"] == sheets[0][0].id and second["trial"]["id"] == sheets[1][0].id


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..",
        "a/b",
        "a\\b",
        "",
        " ",
        "-x",
        ".hidden",
        "a\0b",
        "a\nb\u202ec",
        "x" * 41,
        None,
        7,
        ["a"],
    ],
)
def test_a_name_is_never_a_path(name: object, desk: Desk) -> None:
    before = sorted(desk.folder.rglob("*"))
    with pytest.raises(UsageError, match="A name has"):
        desk.start({"rater": name})
    assert sorted(desk.folder.rglob("*")) == before


def test_names_are_of_any_script(desk: Desk) -> None:
    assert desk.start({"rater": "  Zoë  Müller "})["rater"] == "zoë-müller"
    assert desk.start({"rater": "李雷"})["rater"] == "李雷"


def test_a_study_without_answers_or_a_damaged_plan_is_told(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no answers yet"):
        count(TallySettings(desk.folder))
    with pytest.raises(InputError, match=r"has no plan\.json"):
        study.load(tmp_path)
    (desk.folder / study.PLAN).write_text('{"format": 1, "mode": "pairwise"}')
    with pytest.raises(InputError, match="is not the plan of a study"):
        study.load(desk.folder)
