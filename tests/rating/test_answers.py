"""What raters said is never lost: resume, undo, torn files, answers sent twice."""

import json
import os
from pathlib import Path

import pytest

from eve_cli.errors import InputError, UsageError
from eve_cli.rating import answers, study
from eve_cli.rating.session import Conflict, RatingSession
from eve_cli.rating.settings import AnalyzeSettings
from eve_cli.rating.votes import read_votes
from tests.rating.studies import make_study

pytestmark = pytest.mark.usefixtures("no_videos")


@pytest.fixture
def session(tmp_path: Path) -> RatingSession:
    return RatingSession(make_study(tmp_path, ("ours", "theirs"), 2))


def say(session: RatingSession, state: dict, choice: int = 1, **more: object) -> dict:
    body = {"rater": state["rater"], "trial": state["trial"]["id"], "question": state["question"], "choice": choice}
    return session.answer({**body, **more})


def file_of(session: RatingSession, rater: str = "ann") -> Path:
    return answers.path_of(session.folder, rater)


def test_a_rater_goes_on_where_they_stopped_and_comes_to_an_end(session: RatingSession) -> None:
    state = session.start({"rater": "Ann"})
    total = state["total"]
    for _ in range(4):
        state = say(session, state)
    again = RatingSession(session.folder).start({"rater": "ann "})
    assert again == state and again["done"] == 1
    assert [question["choice"] for question in again["questions"]] == [1, None, None]
    for _ in range(3 * total - 4):
        state = say(session, state, 2)
    assert state["trial"] is None and state["done"] == total
    assert session.undo({"rater": "ann"})["done"] == total - 1


def test_every_answer_is_on_the_disk_before_the_next_question(
    session: RatingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda number: kept.append(os.fstat(number).st_size))
    state = session.start({"rater": "ann"})
    for _ in range(2):
        state = say(session, state)
        assert kept[-1] == file_of(session).stat().st_size


def test_the_same_answer_twice_counts_once_and_another_one_does_not_count(session: RatingSession) -> None:
    first = session.start({"rater": "ann"})
    second = say(session, first, 1)
    held = file_of(session).read_bytes()
    assert say(session, first, 1) == second
    with pytest.raises(Conflict):
        say(session, first, 2)
    with pytest.raises(Conflict):
        say(session, {**second, "trial": {"id": "t9999"}})
    assert file_of(session).read_bytes() == held


@pytest.mark.parametrize("choice", [0, 3, -1, "1", 1.0, True, None, [1], {"a": 1}])
def test_only_the_answers_on_the_page_count(choice: object, session: RatingSession) -> None:
    state = session.start({"rater": "ann"})
    with pytest.raises(UsageError, match="not one of the answers"):
        say(session, state, choice)  # type: ignore[arg-type]


def test_measurements_that_make_no_sense_are_left_out(session: RatingSession) -> None:
    say(session, session.start({"rater": "ann"}), rt_ms=1234.6, replays=-1, blurs="<b>", width=10**12)
    line = json.loads(file_of(session).read_text().splitlines()[-1])
    assert (line["rt_ms"], line["replays"], line["blurs"], line["width"]) == (1234, None, None, None)


def test_undo_takes_back_one_thing_at_a_time_and_keeps_the_record(session: RatingSession) -> None:
    start = session.start({"rater": "ann"})
    state = session.broken({"rater": "ann", "trial": say(session, start)["trial"]["id"]})
    assert state["done"] == 1
    assert session.undo({"rater": "ann"})["question"] != start["question"]
    assert session.undo({"rater": "ann"}) == start
    assert session.undo({"rater": "ann"}) == start  # there is nothing left to take back
    kinds = [json.loads(line)["kind"] for line in file_of(session).read_text().splitlines()]
    assert kinds == ["start", "answer", "broken", "undo", "undo"]


def test_a_file_cut_anywhere_loses_only_the_cut_line(session: RatingSession) -> None:
    state = session.start({"rater": "ann"})
    for choice in (1, 2, 1):
        state = say(session, state, choice)
    whole = file_of(session).read_bytes()
    given = [answer["choice"] for answer in answers.read(file_of(session)).events]
    start = whole.index(b"\n") + 1
    for cut in range(start, len(whole) + 1, 7):
        file_of(session).write_bytes(whole[:cut])
        complete = whole[:cut].count(b"\n") - 1
        before = session.start({"rater": "ann"})
        read = answers.read(file_of(session))
        assert len(read.events) - complete in (0, 1)  # 1 where only the line's end was cut off
        assert [answer["choice"] for answer in read.events] == given[: len(read.events)]
        say(session, before, 2)
        after = answers.read(file_of(session))
        assert len(after.events) == len(read.events) + 1 and after.seat == 0
        assert file_of(session).read_bytes().startswith(whole[:cut])


def test_damage_is_counted_and_reported_by_the_analysis(session: RatingSession) -> None:
    state = say(session, session.start({"rater": "ann"}))
    say(session, state, 2)
    lines = file_of(session).read_bytes().splitlines(keepends=True)
    strange = [
        b'{"kind": "answer", "seat": 0, "trial": 7, "question": "text", "choice": 1, "shown": []}\n',
        b"[1]\n",
        b"7\n",
    ]
    foreign = b'{"kind": "answer", "seat": 0, "trial": "t9999", "question": "text", "choice": 1, "shown": ["x.mp4"]}\n'
    file_of(session).write_bytes(b"".join([*lines[:2], b"\0\xff\n", *strange, foreign, lines[2][:30]]))
    votes = read_votes(AnalyzeSettings(session.folder))
    assert len(votes.all_votes) == 1
    assert votes.notes == [
        "ann: 5 damaged lines were ignored",
        "ann: 1 answers do not belong to this study and were ignored",
    ]


def test_raters_take_seats_in_turn_and_keep_them(session: RatingSession) -> None:
    first, second = session.start({"rater": "ann"}), session.start({"rater": "ben"})
    assert [answers.read(file_of(session, name)).seat for name in ("ann", "ben")] == [0, 1]
    trials = [session.plan.trials_for(seat) for seat in (0, 1)]
    assert first["trial"]["id"] == trials[0][0].id and second["trial"]["id"] == trials[1][0].id


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
def test_a_name_is_never_a_path(name: object, session: RatingSession) -> None:
    before = sorted(session.folder.rglob("*"))
    with pytest.raises(UsageError, match="A name has"):
        session.start({"rater": name})
    assert sorted(session.folder.rglob("*")) == before


def test_names_are_of_any_script(session: RatingSession) -> None:
    assert session.start({"rater": "  Zoë  Müller "})["rater"] == "zoë-müller"
    assert session.start({"rater": "李雷"})["rater"] == "李雷"


def test_a_study_without_answers_or_a_damaged_plan_is_reported(session: RatingSession, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no answers yet"):
        read_votes(AnalyzeSettings(session.folder))
    with pytest.raises(InputError, match=r"has no plan\.json"):
        study.load(tmp_path)
    (session.folder / study.PLAN).write_text('{"format": 1, "mode": "pairwise"}')
    with pytest.raises(InputError, match="is not the plan of a study"):
        study.load(session.folder)
