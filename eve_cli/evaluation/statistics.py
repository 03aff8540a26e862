"""How sure a mean, a difference or a share is, when several edits share a source video.

All take plain sequences; NaN values are left out. Intervals are of 95 % unless told otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

DRAWS = 10_000
LEVEL = 0.95


class Interval(NamedTuple):
    """A value and the interval around it; low and high are NaN where too little is known."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """One run against another, edit by edit: mean of a - b, wins of a, and the sign test's p over source videos."""

    difference: Interval
    wins: int
    losses: int
    ties: int
    p: float

    @property
    def count(self) -> int:
        """Edits that both runs have."""
        return self.wins + self.losses + self.ties

    @property
    def share(self) -> float:
        """Wins and half the ties, of all; NaN if there are none."""
        return (self.wins + self.ties / 2) / self.count if self.count else math.nan


def cluster_bootstrap(
    values: Sequence[float] | npt.ArrayLike,
    clusters: Sequence[Hashable],
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """The mean of values with a percentile interval, drawing whole clusters (source videos) with replacement.

    Every value weighs the same in the mean. Two clusters are the least for an interval (Efron and Tibshirani 1993,
    chapter 13; clusters as in Field and Welsh 2007).
    """
    sums, counts = _by_cluster(values, clusters)
    if not len(sums):
        return Interval(math.nan, math.nan, math.nan)
    mean = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return Interval(mean, math.nan, math.nan)
    times = _resamples(len(sums), draws, seed)
    means = mean + times @ (sums - mean * counts) / (times @ counts)  # around the mean: no digits are lost
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))


def paired(
    a: Sequence[float], b: Sequence[float], clusters: Sequence[Hashable], draws: int = DRAWS, seed: int = 0
) -> Paired:
    """Two runs on the same edits, in the same order; edits that either lacks (NaN) are left out.

    The sign test is over source videos (the sign of each one's mean difference), as edits of one are not independent.
    """
    differences = np.asarray(a, float) - np.asarray(b, float)
    sums, _ = _by_cluster(differences, clusters)
    return Paired(
        cluster_bootstrap(differences, clusters, draws, seed),
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        ties=int((differences == 0).sum()),
        p=sign_test(int((sums > 0).sum()), int((sums < 0).sum())),
    )


def wilson(k: float, n: float, level: float = LEVEL) -> Interval:
    """The share k / n with Wilson's score interval (Wilson 1927); ties may count half. NaN if n is 0."""
    if n <= 0:
        return Interval(math.nan, math.nan, math.nan)
    z, share = NormalDist().inv_cdf((1 + level) / 2), k / n
    middle = share + z * z / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Interval(share, (middle - reach) / scale if k else 0.0, (middle + reach) / scale if k < n else 1.0)


def sign_test(wins: int, losses: int) -> float:
    """The two-sided exact p that wins and losses are equally likely; 1 if there are none. Ties are left out before."""
    n, least = wins + losses, min(wins, losses)
    tail = sum(math.comb(n, k) for k in range(least + 1))
    return min(1.0, 2 * tail / 2**n)  # whole numbers: exact for any n


def _by_cluster(
    values: Sequence[float] | npt.ArrayLike, clusters: Sequence[Hashable]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The sum and the number of finite values of each cluster that has any, in the order they first appear."""
    flat = np.asarray(values, float)
    if len(flat) != len(clusters):
        raise ValueError(f"{len(flat)} values have {len(clusters)} clusters")
    numbers: dict[Hashable, int] = {}
    finite = np.isfinite(flat)
    names = [name for name, good in zip(clusters, finite, strict=True) if good]
    index = np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=int)
    sums, counts = np.zeros(len(numbers)), np.zeros(len(numbers))
    np.add.at(sums, index, flat[finite])
    np.add.at(counts, index, 1.0)
    return sums, counts


@lru_cache(maxsize=4)
def _resamples(clusters: int, draws: int, seed: int) -> npt.NDArray[np.float32]:
    """How often each cluster is drawn (draws, clusters); many columns share the same."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=draws).astype(np.float32)
