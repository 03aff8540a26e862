"""Intervals that hold for other source videos and other raters: both are drawn anew, with replacement."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from eve_cli.evaluation.statistics import LEVEL, Interval

Array = npt.NDArray[np.float64]


class Resampler:
    """Draws videos and raters independently; a vote counts as often as its video times its rater was drawn.

    This is the bootstrap for two crossed factors (Owen 2007, "The pigeonhole bootstrap"). It is wider than drawing
    votes, as votes on one video, and of one rater, are alike. All statistics of a study share the same draws.
    """

    def __init__(self, videos: Sequence[Hashable], raters: Sequence[Hashable], draws: int, seed: int) -> None:
        self._videos, self._raters = _numbered(videos), _numbered(raters)
        rng = np.random.default_rng(seed)
        self._times = [_drawn(rng, len(names), draws) for names in (self._videos, self._raters)]

    @property
    def enough(self) -> bool:
        """Whether there are two videos, the least for an interval."""
        return len(self._videos) > 1

    def cells(self, videos: Sequence[Hashable], raters: Sequence[Hashable], values: npt.ArrayLike) -> Array:
        """The sum of the values (votes, ...) in each cell (videos, raters, ...)."""
        flat = np.asarray(values, float)
        summed = np.zeros((len(self._videos), len(self._raters), *flat.shape[1:]))
        np.add.at(summed, ([self._videos[v] for v in videos], [self._raters[r] for r in raters]), flat)
        return summed

    def sums(self, cells: Array) -> Array:
        """The draws (draws, ...) of the sum over all cells."""
        by_rater = np.tensordot(self._times[0], cells, 1)
        return np.einsum("dr,dr...->d...", self._times[1], by_rater)

    def means(self, videos: Sequence[Hashable], raters: Sequence[Hashable], values: Sequence[float]) -> Array:
        """The draws (draws,) of the mean of some values; NaN where a draw has none of them."""
        counts = self.sums(self.cells(videos, raters, np.ones(len(values))))
        return np.divide(
            self.sums(self.cells(videos, raters, values)), counts, out=np.full(len(counts), math.nan), where=counts > 0
        )

    def interval(self, value: float, drawn: Array) -> Interval:
        """The value with the percentiles of its draws."""
        finite = drawn[np.isfinite(drawn)]
        if not self.enough or not len(finite):
            return Interval(value, math.nan, math.nan)
        low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Interval(value, float(low), float(high))


def _numbered(names: Sequence[Hashable]) -> dict[Hashable, int]:
    return {name: n for n, name in enumerate(dict.fromkeys(names))}


def _drawn(rng: np.random.Generator, count: int, draws: int) -> Array:
    return rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(float) if count else np.ones((draws, 0))
