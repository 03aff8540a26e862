"""What the votes of a study say, as plain values: shares, scores, intervals, agreement."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from statistics import fmean, stdev
from typing import Any

import numpy as np

from eve_cli.evaluation.statistics import Interval, cluster_bootstrap, sign_test, wilson
from eve_cli.rating import power
from eve_cli.rating.agreement import krippendorff
from eve_cli.rating.analyze import Count, Vote
from eve_cli.rating.bradley_terry import strengths
from eve_cli.rating.resample import Array, Resampler
from eve_cli.rating.settings import TallySettings
from eve_cli.rating.study import OBVIOUS

ALL = "all"  # the mean of the questions, as in EVE's tables
SUCCESS = 2  # an edit succeeds where all its mean scores are above this (Dreamix)
Row = dict[str, Any]


def values(counted: Count) -> Row:
    """The whole summary."""
    votes, settings = counted.votes, counted.settings
    sampler = Resampler([v.video for v in votes], [v.rater for v in votes], settings.draws, settings.seed)
    mode = counted.plan.mode
    found: Row = {
        "format": 1,
        "study": counted.plan.study,
        "mode": mode,
        "systems": counted.systems,
        "questions": list(counted.plan.questions),
        "votes": len(votes),
        "items": len({vote.item for vote in votes}),
        "videos": len({vote.video for vote in votes}),
        "power": _power(counted),
    }
    found |= {"pairwise": _pairwise, "scores": _scores, "best": _best}[mode](counted, sampler)
    found["agreement"] = {q: _number(_alpha(_of(votes, q), mode == "scores")) for q in counted.plan.questions}
    found["places"] = _places(counted)
    found["raters"] = [
        {**vars(rater), "first": _interval(rater.first), "seconds": _number(rater.seconds)} for rater in counted.raters
    ]
    return found


def _of(votes: Iterable[Vote], question: str) -> list[Vote]:
    return [vote for vote in votes if question in (vote.question, ALL)]


def _power(counted: Count) -> str:
    """What as many votes could be expected to show, each comparison by itself."""
    groups: dict[Any, set[tuple[str, str]]] = defaultdict(set)
    for vote in counted.votes:
        groups[tuple(sorted(vote.shown))].add((vote.item, vote.rater))
    most = max(groups.values(), key=len, default=set())
    items = len({item for item, _ in most})
    return power.told(counted.plan.mode, items, len(most) / max(items, 1), len(counted.systems))


def _pairwise(counted: Count, sampler: Resampler) -> Row:
    rows = []
    for a, b in combinations(counted.systems, 2):
        met = [vote for vote in counted.votes if set(vote.shown) == {a, b}]
        draws: list[Array] = []
        for question in counted.plan.questions:
            if asked := _of(met, question):
                row, drawn = _duel(asked, a, b, sampler)
                rows.append({"a": a, "b": b, "question": question, **row})
                draws.append(drawn)
        if len(draws) > 1:
            shares = [row["share"] for row in rows[-len(draws) :]]
            whole = sampler.interval(fmean(shares), np.mean(draws, axis=0))
            rows.append(
                {"a": a, "b": b, "question": ALL, "n": len(met), "share": whole.mean, "cluster": _interval(whole)}
            )
    scale = _scale(counted, sampler) if len(counted.systems) > 2 else []
    return {"pairs": rows, "bradley_terry": scale}


def _duel(votes: Sequence[Vote], a: str, b: str, sampler: Resampler) -> tuple[Row, Array]:
    wins, losses = (sum(vote.winner == name for vote in votes) for name in (a, b))
    n, ties = len(votes), len(votes) - wins - losses
    points = [_points(vote, a) for vote in votes]
    drawn = sampler.means([v.video for v in votes], [v.rater for v in votes], points)
    by_item = defaultdict(list)
    for vote, point in zip(votes, points, strict=True):
        by_item[vote.item].append(point)
    means = [fmean(each) for each in by_item.values()]
    most, least = sum(mean > 0.5 for mean in means), sum(mean < 0.5 for mean in means)
    share = (wins + ties / 2) / n
    return {
        "n": n,
        "wins": wins,
        "losses": losses,
        "ties": ties,
        "share": share,
        "wilson": _interval(wilson(wins + ties / 2, n)),
        "cluster": _interval(sampler.interval(share, drawn)),
        "without_ties": _number(wins / (wins + losses) if wins + losses else None),
        "p": sign_test(wins, losses),
        "majority": {"items": len(means), "wins": most, "losses": least, "p": sign_test(most, least)},
        "alpha": _number(_alpha(votes)),
    }, drawn


def _points(vote: Vote, system: str) -> float:
    return 0.5 if vote.winner == "tie" else float(vote.winner == system)


def _scale(counted: Count, sampler: Resampler) -> list[Row]:
    """Bradley-Terry scores for each question and all together."""
    place, rows = {name: n for n, name in enumerate(counted.systems)}, []
    several = len(counted.plan.questions) > 1
    for question in (*counted.plan.questions, *((ALL,) if several else ())):
        votes = counted.votes if question == ALL else _of(counted.votes, question)
        won = np.zeros((len(votes), len(place), len(place)))
        for n, vote in enumerate(votes):
            one, other = (place[name] for name in vote.shown)
            won[n, one, other], won[n, other, one] = (_points(vote, name) for name in vote.shown)
        drawn = strengths(sampler.sums(sampler.cells([v.video for v in votes], [v.rater for v in votes], won)))
        for n, score in enumerate(strengths(won.sum(0))):
            interval = sampler.interval(float(score), drawn[:, n])
            rows.append({"question": question, "system": counted.systems[n], "score": _interval(interval)})
    return rows


def _best(counted: Count, sampler: Resampler) -> Row:
    rows = []
    for question in counted.plan.questions:
        votes = _of(counted.votes, question)
        for name in counted.systems if votes else ():
            points = [1 / len(vote.shown) if vote.winner == "tie" else float(vote.winner == name) for vote in votes]
            drawn = sampler.means([v.video for v in votes], [v.rater for v in votes], points)
            share = fmean(points)
            rows.append(
                {
                    "system": name,
                    "question": question,
                    "n": len(votes),
                    "share": share,
                    "chance": 1 / len(counted.systems),
                    "wilson": _interval(wilson(sum(points), len(votes))),
                    "cluster": _interval(sampler.interval(share, drawn)),
                }
            )
    return {"best": rows}


def _scores(counted: Count, sampler: Resampler) -> Row:
    rows, success = [], []
    for name in counted.systems:
        shown = [vote for vote in counted.votes if vote.shown == (name,)]
        means: dict[str, dict[str, float]] = defaultdict(dict)
        for question in counted.plan.questions:
            votes = _of(shown, question)
            by_item = defaultdict(list)
            for vote in votes:
                by_item[vote.item].append(vote.choice)
            for item, given in by_item.items():
                means[item][question] = fmean(given)
            if votes:
                drawn = sampler.means([v.video for v in votes], [v.rater for v in votes], [v.choice for v in votes])
                interval = sampler.interval(fmean(v.choice for v in votes), drawn)
                spread = [fmean(given) for given in by_item.values()]
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
        success += _success(name, shown, means, len(counted.plan.questions), counted.settings)
    return {"scores": rows, "success": success}


def _success(
    name: str, shown: Sequence[Vote], means: dict[str, dict[str, float]], asked: int, settings: TallySettings
) -> list[Row]:
    """The share of edits whose mean scores are all above 2; only edits on which every question was answered."""
    whole = {item: float(min(scores.values()) > SUCCESS) for item, scores in means.items() if len(scores) == asked}
    if not whole:
        return []
    video = {vote.item: vote.video for vote in shown}
    drawn = cluster_bootstrap(list(whole.values()), [video[item] for item in whole], settings.draws, settings.seed)
    good = sum(whole.values())
    row = {"system": name, "edits": len(whole), "successes": int(good), "share": good / len(whole)}
    return [{**row, "wilson": _interval(wilson(good, len(whole))), "cluster": _interval(drawn)}]


def _alpha(votes: Sequence[Vote], scores: bool = False) -> float:
    units = defaultdict(list)
    for vote in votes:
        units[vote.item, tuple(sorted(vote.shown))].append(vote.choice if scores else vote.winner)
    return krippendorff(list(units.values()), interval=scores)


def _places(counted: Count) -> Row | None:
    """How often each place was chosen; ties and obvious catch trials are left out, those of equal clips are not."""
    kept = {rater.name for rater in counted.raters if rater.kept}
    votes = [v for v in counted.everything if v.rater in kept and v.choice and len(v.shown) > 1 and v.catch != OBVIOUS]
    if not votes:
        return None
    counts = [sum(vote.choice == place + 1 for vote in votes) for place in range(len(votes[0].shown))]
    return {"counts": counts, "first": _interval(wilson(counts[0], len(votes)))}


def _interval(interval: Interval) -> list[float | None]:
    return [_number(value) for value in interval]


def _number(value: float | None) -> float | None:
    """A number as JSON can hold it, to six decimals."""
    return None if value is None or math.isnan(value) else round(float(value), 6)
