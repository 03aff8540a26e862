"""Analyses the votes of a study as plain values: shares, scores, intervals, agreement."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from statistics import fmean, stdev
from typing import Any

import numpy as np

from eve_cli.evaluation.statistics import Interval, bootstrap, sign_test, wilson
from eve_cli.rating import power
from eve_cli.rating.settings import AnalyzeSettings
from eve_cli.rating.statistics import Array, CrossedBootstrap, bradley_terry, krippendorff_alpha
from eve_cli.rating.study import OBVIOUS
from eve_cli.rating.votes import StudyVotes, Vote

ALL = "all"  # the mean of the questions, as in EVE's tables
SUCCESS = 2  # an edit succeeds where all its mean scores are above this (Dreamix)
Values = dict[str, Any]


def analyze(study: StudyVotes) -> Values:
    """All values of summary.json."""
    votes, settings = study.votes, study.settings
    resampling = CrossedBootstrap([v.video for v in votes], [v.rater for v in votes], settings.draws, settings.seed)
    mode = study.plan.mode
    summary: Values = {
        "format": 1,
        "study": study.plan.study,
        "mode": mode,
        "systems": study.systems,
        "questions": list(study.plan.questions),
        "votes": len(votes),
        "items": len({vote.item for vote in votes}),
        "videos": len({vote.video for vote in votes}),
        "power": _power(study),
    }
    summary |= {"pairwise": _pairwise, "scores": _scores, "best": _best}[mode](study, resampling)
    summary["agreement"] = {q: _number(_alpha(_of(votes, q), mode == "scores")) for q in study.plan.questions}
    summary["positions"] = _positions(study)
    summary["raters"] = [
        {**vars(rater), "first": _interval(rater.first), "seconds": _number(rater.seconds)} for rater in study.raters
    ]
    return summary


def _of(votes: Iterable[Vote], question: str) -> list[Vote]:
    return [vote for vote in votes if question in (vote.question, ALL)]


def _power(study: StudyVotes) -> str:
    """The effect that this number of votes can detect, per comparison."""
    groups: dict[Any, set[tuple[str, str]]] = defaultdict(set)
    for vote in study.votes:
        groups[tuple(sorted(vote.shown))].add((vote.item, vote.rater))
    largest = max(groups.values(), key=len, default=set())
    items = len({item for item, _ in largest})
    return power.describe(study.plan.mode, items, len(largest) / max(items, 1), len(study.systems))


def _pairwise(study: StudyVotes, resampling: CrossedBootstrap) -> Values:
    rows = []
    for a, b in combinations(study.systems, 2):
        votes = [vote for vote in study.votes if set(vote.shown) == {a, b}]
        resampled: list[Array] = []
        for question in study.plan.questions:
            if answers := _of(votes, question):
                row, resampled_shares = _comparison(answers, a, b, resampling)
                rows.append({"a": a, "b": b, "question": question, **row})
                resampled.append(resampled_shares)
        if len(resampled) > 1:
            shares = [row["share"] for row in rows[-len(resampled) :]]
            overall = resampling.interval(fmean(shares), np.mean(resampled, axis=0))
            rows.append(
                {"a": a, "b": b, "question": ALL, "n": len(votes), "share": overall.mean, "cluster": _interval(overall)}
            )
    scale = _scale(study, resampling) if len(study.systems) > 2 else []
    return {"pairs": rows, "bradley_terry": scale}


def _comparison(votes: Sequence[Vote], a: str, b: str, resampling: CrossedBootstrap) -> tuple[Values, Array]:
    wins, losses = (sum(vote.winner == name for vote in votes) for name in (a, b))
    n, ties = len(votes), len(votes) - wins - losses
    points = [_points(vote, a) for vote in votes]
    resampled = resampling.means([v.video for v in votes], [v.rater for v in votes], points)
    by_item = defaultdict(list)
    for vote, point in zip(votes, points, strict=True):
        by_item[vote.item].append(point)
    means = [fmean(each) for each in by_item.values()]
    for_a, for_b = sum(mean > 0.5 for mean in means), sum(mean < 0.5 for mean in means)
    share = (wins + ties / 2) / n
    return {
        "n": n,
        "wins": wins,
        "losses": losses,
        "ties": ties,
        "share": share,
        "wilson": _interval(wilson(wins + ties / 2, n)),
        "cluster": _interval(resampling.interval(share, resampled)),
        "without_ties": _number(wins / (wins + losses) if wins + losses else None),
        "p": sign_test(wins, losses),
        "majority": {"items": len(means), "wins": for_a, "losses": for_b, "p": sign_test(for_a, for_b)},
        "alpha": _number(_alpha(votes)),
    }, resampled


def _points(vote: Vote, system: str) -> float:
    return 0.5 if vote.winner == "tie" else float(vote.winner == system)


def _scale(study: StudyVotes, resampling: CrossedBootstrap) -> list[Values]:
    """Bradley-Terry scores for each question and all together."""
    index, rows = {name: n for n, name in enumerate(study.systems)}, []
    several = len(study.plan.questions) > 1
    for question in (*study.plan.questions, *((ALL,) if several else ())):
        votes = study.votes if question == ALL else _of(study.votes, question)
        wins = np.zeros((len(votes), len(index), len(index)))
        for n, vote in enumerate(votes):
            first, second = (index[name] for name in vote.shown)
            wins[n, first, second], wins[n, second, first] = (_points(vote, name) for name in vote.shown)
        resampled = bradley_terry(
            resampling.sums(resampling.cells([v.video for v in votes], [v.rater for v in votes], wins))
        )
        for n, score in enumerate(bradley_terry(wins.sum(0))):
            interval = resampling.interval(float(score), resampled[:, n])
            rows.append({"question": question, "system": study.systems[n], "score": _interval(interval)})
    return rows


def _best(study: StudyVotes, resampling: CrossedBootstrap) -> Values:
    rows = []
    for question in study.plan.questions:
        votes = _of(study.votes, question)
        for name in study.systems if votes else ():
            points = [1 / len(vote.shown) if vote.winner == "tie" else float(vote.winner == name) for vote in votes]
            resampled = resampling.means([v.video for v in votes], [v.rater for v in votes], points)
            share = fmean(points)
            rows.append(
                {
                    "system": name,
                    "question": question,
                    "n": len(votes),
                    "share": share,
                    "chance": 1 / len(study.systems),
                    "wilson": _interval(wilson(sum(points), len(votes))),
                    "cluster": _interval(resampling.interval(share, resampled)),
                }
            )
    return {"best": rows}


def _scores(study: StudyVotes, resampling: CrossedBootstrap) -> Values:
    rows, success = [], []
    for name in study.systems:
        system_votes = [vote for vote in study.votes if vote.shown == (name,)]
        means: dict[str, dict[str, float]] = defaultdict(dict)
        for question in study.plan.questions:
            votes = _of(system_votes, question)
            by_item = defaultdict(list)
            for vote in votes:
                by_item[vote.item].append(vote.choice)
            for item, scores in by_item.items():
                means[item][question] = fmean(scores)
            if votes:
                resampled = resampling.means(
                    [v.video for v in votes], [v.rater for v in votes], [v.choice for v in votes]
                )
                interval = resampling.interval(fmean(v.choice for v in votes), resampled)
                spread = [fmean(scores) for scores in by_item.values()]
                rows.append(
                    {
                        "system": name,
                        "question": question,
                        "n": len(votes),
                        "edits": len(spread),
                        "mean": interval.mean,
                        "sd": _number(stdev(spread) if len(spread) > 1 else None),
                        "cluster": _interval(interval),
                    }
                )
        success += _success(name, system_votes, means, len(study.plan.questions), study.settings)
    return {"scores": rows, "success": success}


def _success(
    name: str,
    system_votes: Sequence[Vote],
    means: dict[str, dict[str, float]],
    questions: int,
    settings: AnalyzeSettings,
) -> list[Values]:
    """The share of edits whose mean scores are all above 2, among edits with an answer to every question."""
    successes = {
        item: float(min(scores.values()) > SUCCESS) for item, scores in means.items() if len(scores) == questions
    }
    if not successes:
        return []
    video = {vote.item: vote.video for vote in system_votes}
    resampled = bootstrap(list(successes.values()), [video[item] for item in successes], settings.draws, settings.seed)
    count = sum(successes.values())
    row = {"system": name, "edits": len(successes), "successes": int(count), "share": count / len(successes)}
    return [{**row, "wilson": _interval(wilson(count, len(successes))), "cluster": _interval(resampled)}]


def _alpha(votes: Sequence[Vote], scores: bool = False) -> float:
    units = defaultdict(list)
    for vote in votes:
        units[vote.item, tuple(sorted(vote.shown))].append(vote.choice if scores else vote.winner)
    return krippendorff_alpha(list(units.values()), interval=scores)


def _positions(study: StudyVotes) -> Values | None:
    """How often each position was chosen, without ties and obvious catch trials."""
    included = {rater.name for rater in study.raters if rater.included}
    votes = [v for v in study.all_votes if v.rater in included and v.choice and len(v.shown) > 1 and v.catch != OBVIOUS]
    if not votes:
        return None
    counts = [sum(vote.choice == position + 1 for vote in votes) for position in range(len(votes[0].shown))]
    return {"counts": counts, "first": _interval(wilson(counts[0], len(votes)))}


def _interval(interval: Interval) -> list[float | None]:
    return [_number(value) for value in interval]


def _number(value: float | None) -> float | None:
    """A number as JSON can hold it, to six decimals."""
    return None if value is None or math.isnan(value) else round(float(value), 6)
