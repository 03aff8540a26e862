"""How much raters agree beyond chance."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np


def krippendorff(units: Sequence[Sequence[Hashable]], interval: bool = False) -> float:
    """Krippendorff's alpha of the values that each unit was given: 1 is full agreement, 0 what chance gives.

    Values are names, or numbers whose squared distances count with `interval`. Units with one value say nothing; NaN
    where none has two, or all values are the same (Krippendorff 2011, "Computing Krippendorff's alpha-reliability").
    """
    told = [unit for unit in units if len(unit) > 1]
    values = sorted({value for unit in told for value in unit}, key=str)
    place = {value: n for n, value in enumerate(values)}
    together = np.zeros((len(values), len(values)))
    for unit in told:
        counts = np.bincount([place[value] for value in unit], minlength=len(values)).astype(float)
        together += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    totals = together.sum(0)
    if interval:
        numbers = np.array(values, float)
        distance = (numbers[:, None] - numbers[None]) ** 2
    else:
        distance = 1.0 - np.eye(len(values))
    expected = (np.outer(totals, totals) * distance).sum() / max(totals.sum() - 1, 1)
    return float(1 - (together * distance).sum() / expected) if expected else math.nan
