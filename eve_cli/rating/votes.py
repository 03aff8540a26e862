"""Reads the answers of a study as votes: file names become systems, catch trials are marked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from eve_cli.errors import InputError
from eve_cli.evaluation.statistics import Interval, wilson
from eve_cli.rating import answers, study
from eve_cli.rating.answers import AnswerLog
from eve_cli.rating.settings import AnalyzeSettings
from eve_cli.rating.study import OBVIOUS, Plan
from eve_cli.storage.paths import shell_word

# A pixelated clip must score at most 2; a source shown as its own edit must score at least 4 for preservation.
LOW, HIGH, PRESERVE = 2, 4, "preserve"


@dataclass(frozen=True)
class Vote:
    """An answer: `shown` are the systems in the order on screen, `choice` the chosen position (0: tie) or score."""

    rater: str
    trial: str
    item: str
    video: str
    task: str
    question: str
    shown: tuple[str, ...]
    choice: int
    winner: str
    order: int
    catch: str
    passed: bool | None
    rt_ms: int | None
    replays: int | None
    blurs: int | None
    ts: str


@dataclass(frozen=True)
class Rater:
    """How one rater worked. `included` is False where too few catch trials were passed."""

    name: str
    votes: int
    broken: int
    passed: int
    caught: int
    first: Interval
    seconds: float | None
    damaged: int
    included: bool


@dataclass
class StudyVotes:
    """All votes of a study; `votes` are those without catch trials and without excluded raters."""

    plan: Plan
    systems: list[str]
    raters: list[Rater]
    votes: list[Vote]
    all_votes: list[Vote]
    notes: list[str]
    settings: AnalyzeSettings


def read_votes(settings: AnalyzeSettings) -> StudyVotes:
    """The votes in the answer files of a study; InputError if there are none yet."""
    plan, key = study.load(settings.study), study.load_key(settings.study)
    logs = answers.read_all(settings.study)
    by_rater = {log.rater: _votes(plan, key, log) for log in logs}
    raters = [_rater(log, by_rater[log.rater], settings.least) for log in logs]
    all_votes = [vote for votes in by_rater.values() for vote in votes]
    if not all_votes:
        raise InputError(
            f"{settings.study} has no answers yet; collect them with: eve rate serve {shell_word(settings.study)}"
        )
    included = {rater.name for rater in raters if rater.included}
    votes = [vote for vote in all_votes if vote.rater in included and not vote.catch]
    notes = [f"{log.rater}: {log.damaged} damaged lines were ignored" for log in logs if log.damaged]
    for log in logs:
        if foreign := len(log.answers) - len(by_rater[log.rater]):
            notes.append(f"{log.rater}: {foreign} answers do not belong to this study and were ignored")
    notes += [f"{r.name} is excluded: {r.passed} of {r.caught} catch trials passed" for r in raters if not r.included]
    return StudyVotes(plan, list(key["systems"]), raters, votes, all_votes, notes, settings)


def _votes(plan: Plan, key: Mapping[str, Any], log: AnswerLog) -> list[Vote]:
    edits = {trial.id: trial.edits for trial in (*plan.trials, *plan.checks)}
    votes = []
    for order, line in enumerate(log.answers.values(), 1):
        trial, shown, choice = line["trial"], tuple(line["shown"]), line["choice"]
        fits = sorted(edits.get(trial, ())) == sorted(map(str, shown)) and line["question"] in plan.questions
        if not fits or trial in log.broken or choice not in plan.rules.choices(len(shown), True):
            continue
        names = tuple(key["media"][name]["system"] for name in shown)
        winner = "" if plan.rules.scores else names[choice - 1] if choice else "tie"
        check = key["checks"].get(trial)
        votes.append(
            Vote(
                rater=log.rater,
                trial=trial,
                **key["trials"][trial],
                question=line["question"],
                shown=names,
                choice=choice,
                winner=winner,
                order=order,
                catch=check["kind"] if check else "",
                passed=_passed(plan, check, line["question"], shown, choice) if check else None,
                rt_ms=line.get("rt_ms"),
                replays=line.get("replays"),
                blurs=line.get("blurs"),
                ts=str(line.get("ts", "")),
            )
        )
    return votes


def _passed(plan: Plan, check: Mapping[str, Any], question: str, shown: tuple[str, ...], choice: int) -> bool | None:
    """Whether a catch trial was answered correctly; None where every answer is correct."""
    if plan.rules.scores:
        if check["kind"] == OBVIOUS:
            return choice <= LOW
        return choice >= HIGH if question == PRESERVE else None
    return bool(choice) and shown[choice - 1] in check["good"] if check["kind"] == OBVIOUS else None


def _rater(log: AnswerLog, votes: list[Vote], least: float) -> Rater:
    checks = [vote.passed for vote in votes if vote.passed is not None]
    sides = [vote.choice for vote in votes if vote.choice and len(vote.shown) > 1]
    times = [vote.rt_ms for vote in votes if vote.rt_ms is not None]
    return Rater(
        name=log.rater,
        votes=len(votes),
        broken=len(log.broken),
        passed=sum(checks),
        caught=len(checks),
        first=wilson(sides.count(1), len(sides)),
        seconds=median(times) / 1000 if times else None,
        damaged=log.damaged,
        included=not checks or sum(checks) >= least * len(checks),
    )
