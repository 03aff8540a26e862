"""The votes of a study: every rater's file read, names turned back into systems, catch trials marked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from eve_cli.errors import InputError
from eve_cli.evaluation.statistics import Interval, wilson
from eve_cli.rating import answers, study
from eve_cli.rating.answers import Log
from eve_cli.rating.settings import TallySettings
from eve_cli.rating.study import OBVIOUS, Plan

LOW, HIGH, KEPT = 2, 4, "preserve"  # a wreck scores at most 2; a source shown as its own edit is kept, at least 4


@dataclass(frozen=True)
class Vote:
    """An answer: `shown` are systems in the order seen, `choice` the place chosen (0 = tie) or the score."""

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
    """How one rater worked. `kept` is False where too few catch trials were passed."""

    name: str
    votes: int
    broken: int
    passed: int
    caught: int
    first: Interval
    seconds: float | None
    damaged: int
    kept: bool


@dataclass
class Count:
    """All that was said in a study; `votes` are without catch trials and without raters left out."""

    plan: Plan
    systems: list[str]
    raters: list[Rater]
    votes: list[Vote]
    everything: list[Vote]
    notes: list[str]
    settings: TallySettings


def count(settings: TallySettings) -> Count:
    """Read a study's answers; InputError if nobody has answered yet."""
    plan, key = study.load(settings.study), study.load_key(settings.study)
    logs = answers.read_all(settings.study)
    read = {log.rater: _votes(plan, key, log) for log in logs}
    raters = [_rater(log, read[log.rater], settings.least) for log in logs]
    everything = [vote for votes in read.values() for vote in votes]
    if not everything:
        raise InputError(f"{settings.study} has no answers yet; eve rate serve {settings.study} takes them.")
    kept = {rater.name for rater in raters if rater.kept}
    votes = [vote for vote in everything if vote.rater in kept and not vote.catch]
    notes = [f"{log.rater}: {log.damaged} damaged lines were left out" for log in logs if log.damaged]
    for log in logs:
        if foreign := len(log.answers) - len(read[log.rater]):
            notes.append(f"{log.rater}: {foreign} answers do not belong to this study and were left out")
    notes += [f"{r.name} is left out: {r.passed} of {r.caught} catch trials passed" for r in raters if not r.kept]
    return Count(plan, list(key["systems"]), raters, votes, everything, notes, settings)


def _votes(plan: Plan, key: Mapping[str, Any], log: Log) -> list[Vote]:
    edits = {trial.id: trial.edits for trial in (*plan.trials, *plan.checks)}
    found = []
    for order, line in enumerate(log.answers.values(), 1):
        trial, shown, choice = line["trial"], tuple(line["shown"]), line["choice"]
        fits = sorted(edits.get(trial, ())) == sorted(map(str, shown)) and line["question"] in plan.questions
        if not fits or trial in log.broken or choice not in plan.rules.choices(len(shown), True):
            continue
        names = tuple(key["media"][name]["system"] for name in shown)
        winner = "" if plan.rules.scores else names[choice - 1] if choice else "tie"
        check = key["checks"].get(trial)
        found.append(
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
    return found


def _passed(plan: Plan, check: Mapping[str, Any], question: str, shown: tuple[str, ...], choice: int) -> bool | None:
    """Whether a catch trial was answered as anyone awake does; None where every answer is right."""
    if plan.rules.scores:
        if check["kind"] == OBVIOUS:
            return choice <= LOW
        return choice >= HIGH if question == KEPT else None
    return bool(choice) and shown[choice - 1] in check["good"] if check["kind"] == OBVIOUS else None


def _rater(log: Log, votes: list[Vote], least: float) -> Rater:
    judged = [vote.passed for vote in votes if vote.passed is not None]
    sides = [vote.choice for vote in votes if vote.choice and len(vote.shown) > 1]
    times = [vote.rt_ms for vote in votes if vote.rt_ms is not None]
    return Rater(
        name=log.rater,
        votes=len(votes),
        broken=len(log.broken),
        passed=sum(judged),
        caught=len(judged),
        first=wilson(sides.count(1), len(sides)),
        seconds=median(times) / 1000 if times else None,
        damaged=log.damaged,
        kept=not judged or sum(judged) >= least * len(judged),
    )
