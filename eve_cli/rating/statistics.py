"""Statistics of human ratings: the bootstrap over videos and raters, agreement between raters, Bradley-Terry scores."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from eve_cli.evaluation.statistics import Interval, percentile_interval, resample_counts

Array = npt.NDArray[np.float64]
PSEUDO_WINS = 0.25  # of each system over each other: without it, a system that never lost has no finite score
MAX_ITERATIONS, TOLERANCE = 1000, 1e-9


class CrossedBootstrap:
    """Resamples videos and raters independently; a vote counts as often as its video times its rater was drawn.

    This is the bootstrap for two crossed factors (Owen 2007, "The pigeonhole bootstrap"). Its intervals are wider than
    those of resampled votes, because votes on one video, and by one rater, are correlated. All statistics of a study
    share the same draws.
    """

    def __init__(self, videos: Sequence[Hashable], raters: Sequence[Hashable], draws: int, seed: int) -> None:
        self._videos, self._raters = _indices(videos), _indices(raters)
        rng = np.random.default_rng(seed)
        self._counts = [resample_counts(rng, len(names), draws) for names in (self._videos, self._raters)]

    def cells(self, videos: Sequence[Hashable], raters: Sequence[Hashable], values: npt.ArrayLike) -> Array:
        """The sum of the values (votes, ...) in each cell (videos, raters, ...)."""
        flat = np.asarray(values, float)
        sums = np.zeros((len(self._videos), len(self._raters), *flat.shape[1:]))
        np.add.at(sums, ([self._videos[v] for v in videos], [self._raters[r] for r in raters]), flat)
        return sums

    def sums(self, cells: Array) -> Array:
        """The resampled sums over all cells: (draws, ...)."""
        by_rater = np.tensordot(self._counts[0], cells, 1)
        return np.einsum("dr,dr...->d...", self._counts[1], by_rater)

    def means(self, videos: Sequence[Hashable], raters: Sequence[Hashable], values: Sequence[float]) -> Array:
        """The resampled means (draws,) of some votes' values; NaN where a draw has none of them."""
        counts = self.sums(self.cells(videos, raters, np.ones(len(values))))
        sums = self.sums(self.cells(videos, raters, values))
        return np.divide(sums, counts, out=np.full(len(counts), math.nan), where=counts > 0)

    def interval(self, value: float, resampled: Array) -> Interval:
        """A value with the percentiles of its resampled counterparts; two videos are the least for an interval."""
        return percentile_interval(value, resampled if len(self._videos) > 1 else resampled[:0])


def _indices(names: Sequence[Hashable]) -> dict[Hashable, int]:
    return {name: index for index, name in enumerate(dict.fromkeys(names))}


def krippendorff_alpha(units: Sequence[Sequence[Hashable]], interval: bool = False) -> float:
    """Krippendorff's alpha of the values that raters gave to each unit: 1 is full agreement, 0 is chance.

    Values are categories, or numbers compared by squared distance with `interval`. Units with a single value are
    ignored; NaN where no unit has two values, or all values are equal (Krippendorff 2011, "Computing Krippendorff's
    alpha-reliability").
    """
    rated = [unit for unit in units if len(unit) > 1]
    values = sorted({value for unit in rated for value in unit}, key=str)
    index = {value: n for n, value in enumerate(values)}
    coincidences = np.zeros((len(values), len(values)))
    for unit in rated:
        counts = np.bincount([index[value] for value in unit], minlength=len(values)).astype(float)
        coincidences += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    totals = coincidences.sum(0)
    if interval:
        numbers = np.array(values, float)
        distance = (numbers[:, None] - numbers[None]) ** 2
    else:
        distance = 1.0 - np.eye(len(values))
    expected = (np.outer(totals, totals) * distance).sum() / max(totals.sum() - 1, 1)
    return float(1 - (coincidences * distance).sum() / expected) if expected else math.nan


def bradley_terry(wins: npt.ArrayLike, pseudo_wins: float = PSEUDO_WINS) -> Array:
    """Bradley-Terry scores 400 log10(p) + 1000, of mean 1000, from `wins[..., i, j]` of i over j; a tie is half a win.

    wins (..., systems, systems) gives (..., systems). By minorisation-maximisation (Hunter 2004, equation 3).
    """
    counts = np.asarray(wins, float)
    counts = counts + pseudo_wins * (1 - np.eye(counts.shape[-1]))
    comparisons = counts + counts.swapaxes(-1, -2)
    total_wins = counts.sum(-1)
    p = np.ones(counts.shape[:-1])
    for _ in range(MAX_ITERATIONS):
        updated = total_wins / (comparisons / (p[..., :, None] + p[..., None, :])).sum(-1)
        updated /= np.exp(np.log(updated).mean(-1, keepdims=True))
        change = np.abs(updated / p - 1).max()
        p = updated
        if change < TOLERANCE:
            break
    return 400 * np.log10(p) + 1000
