"""Statistical power: the effect that a number of votes can detect, computed before anyone has rated."""

from __future__ import annotations

import math
from statistics import NormalDist

ICC = 0.3  # intraclass correlation of the votes of several raters on one item
POWER = 0.8
LEVEL = 0.05


def effective_votes(items: float, raters: float, icc: float = ICC) -> float:
    """The number of independent votes worth `raters` votes on each of `items`: design effect 1 + (m - 1) icc (Kish)."""
    return items * raters / (1 + (raters - 1) * icc)


def votes_needed(share: float, chance: float = 0.5, power: float = POWER) -> int:
    """Independent votes needed to detect a true `share` against `chance` (two-sided 5 %) with this power."""
    z_level, z_power = NormalDist().inv_cdf(1 - LEVEL / 2), NormalDist().inv_cdf(power)
    spread = z_level * math.sqrt(chance * (1 - chance)) + z_power * math.sqrt(share * (1 - share))
    return math.ceil((spread / (share - chance)) ** 2)


def smallest_share(votes: float, chance: float = 0.5, power: float = POWER) -> float:
    """The smallest share above `chance` that `votes` independent votes detect; NaN if no share is detected."""
    low, high = chance + 1e-6, 1 - 1e-6
    if votes < 1 or votes_needed(high, chance, power) > votes:
        return math.nan
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if votes_needed(middle, chance, power) <= votes else (middle, high)
    return high


def half_width(votes: float, share: float = 0.5) -> float:
    """Half the 95 % interval of a share, in the normal approximation."""
    return NormalDist().inv_cdf(1 - LEVEL / 2) * math.sqrt(share * (1 - share) / votes) if votes else math.nan


def describe(mode: str, items: int, raters: float, systems: int) -> str:
    """One sentence: the effect that these items and raters can detect, per question."""
    votes = effective_votes(items, raters)
    total = f"{items} items x {raters:.3g} raters = {items * raters:.0f} votes per question"
    worth = f" (worth {votes:.0f} independent votes)" if raters > 1 else ""
    if mode == "scores":
        return f"{total}{worth}: the 95 % interval of a success rate is ±{100 * half_width(items):.0f} points"
    chance = 1 / systems if mode == "best" else 0.5
    share = smallest_share(votes, chance)
    where = " for each pair of systems" if mode == "pairwise" and systems > 2 else ""
    if math.isnan(share):
        return f"{total}{worth}{where}: too few; {votes_needed(0.75, chance)} votes detect a share of 75 %"
    effect = f"a true share of {100 * share:.0f} % is detected with a power of {POWER:.0%}"
    return f"{total}{worth}{where}: {effect} (chance is {100 * chance:.0f} %)"
