"""Means, differences and shares with intervals, where several edits may share a source video.

All functions take plain sequences or arrays and leave out NaN values. Intervals are of 95 % by default.
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

from eve_cli.errors import UsageError

DRAWS = 10_000
LEVEL = 0.95


class Interval(NamedTuple):
    """A value and the interval around it; low and high are NaN where there is too little data."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """One run against another, edit by edit: the mean of a - b, wins of a, and wins and losses by source video."""

    difference: Interval
    wins: int
    losses: int
    ties: int
    video_wins: int
    video_losses: int

    @property
    def count(self) -> int:
        """Edits that both runs have."""
        return self.wins + self.losses + self.ties

    @property
    def share(self) -> float:
        """Wins and half the ties, of all; NaN if there are none."""
        return (self.wins + self.ties / 2) / self.count if self.count else math.nan

    @property
    def p(self) -> float:
        """p of the sign test over source videos, since edits of one video are not independent."""
        return sign_test(self.video_wins, self.video_losses)


def bootstrap(
    values: Sequence[float] | npt.ArrayLike,
    units: Sequence[Hashable] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """The mean of values with a percentile interval; whole units (source videos) are drawn with replacement.

    Without `units` every value is a unit of its own (a scene). Every value weighs the same in the mean. Two units are
    the least for an interval (Efron and Tibshirani 1993, chapter 13; clusters as in Field and Welsh 2007).
    """
    sums, counts = _by_unit(values, units)
    if not len(sums):
        return Interval(math.nan, math.nan, math.nan)
    mean = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return Interval(mean, math.nan, math.nan)
    resamples = _cached_counts(len(sums), draws, seed)
    # Around the mean, so that no digits are lost.
    return percentile_interval(mean, mean + resamples @ (sums - mean * counts) / (resamples @ counts), level)


def resample_counts(rng: np.random.Generator, units: int, draws: int) -> npt.NDArray[np.float64]:
    """How often each unit is drawn in each of the resamples: (draws, units)."""
    if not units:
        return np.zeros((draws, 0))
    return rng.multinomial(units, np.full(units, 1 / units), size=draws).astype(float)


def percentile_interval(value: float, resampled: npt.NDArray[np.float64], level: float = LEVEL) -> Interval:
    """A value with the percentiles of its resampled counterparts (draws,); NaN where none is finite."""
    finite = resampled[np.isfinite(resampled)]
    if not len(finite):
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def paired(
    a: Sequence[float], b: Sequence[float], videos: Sequence[Hashable], draws: int = DRAWS, seed: int = 0
) -> Paired:
    """Two runs on the same edits, in the same order; edits that either lacks (NaN) are left out."""
    differences = np.asarray(a, float) - np.asarray(b, float)
    sums, _ = _by_unit(differences, videos)
    return Paired(
        bootstrap(differences, videos, draws, seed),
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        ties=int((differences == 0).sum()),
        video_wins=int((sums > 0).sum()),
        video_losses=int((sums < 0).sum()),
    )


def wilson(k: float, n: float, level: float = LEVEL) -> Interval:
    """The share k / n with Wilson's score interval (Wilson 1927); NaN if n is 0.

    Not from scipy, which takes whole counts only: here a tie may count as half a win.
    """
    if n <= 0:
        return Interval(math.nan, math.nan, math.nan)
    z, share = NormalDist().inv_cdf((1 + level) / 2), k / n
    centre = share + z * z / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Interval(share, (centre - reach) / scale if k else 0.0, (centre + reach) / scale if k < n else 1.0)


def sign_test(wins: int, losses: int) -> float:
    """The two-sided exact p of equally likely wins and losses, ties left out; 1 if there are none.

    UsageError where scipy is not installed.
    """
    try:
        from scipy.stats import binomtest
    except ModuleNotFoundError as error:
        raise UsageError("The sign test needs scipy: pip install 'eve-cli[eval]'.") from error
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def _by_unit(
    values: Sequence[float] | npt.ArrayLike, units: Sequence[Hashable] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The sum and the number of finite values of each unit that has any, in the order of first appearance."""
    flat = np.asarray(values, float)
    finite = np.isfinite(flat)
    if units is None:
        return flat[finite], np.ones(int(finite.sum()))
    if len(flat) != len(units):
        raise ValueError(f"{len(flat)} values have {len(units)} units")
    numbers: dict[Hashable, int] = {}
    index = [numbers.setdefault(unit, len(numbers)) for unit, use in zip(units, finite, strict=True) if use]
    sums, counts = np.zeros(len(numbers)), np.zeros(len(numbers))
    np.add.at(sums, np.array(index, int), flat[finite])
    np.add.at(counts, np.array(index, int), 1.0)
    return sums, counts


@lru_cache(maxsize=4)
def _cached_counts(units: int, draws: int, seed: int) -> npt.NDArray[np.float32]:
    """`resample_counts`, kept because many columns share the same."""
    return resample_counts(np.random.default_rng(seed), units, draws).astype(np.float32)
