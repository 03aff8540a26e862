"""What a number of votes can show, told before anyone has rated."""

from __future__ import annotations

import math
from statistics import NormalDist

ICC = 0.3  # how much alike the votes of several raters on one item are; 0 = unrelated
POWER = 0.8
LEVEL = 0.05


def effective_votes(items: float, raters: float, icc: float = ICC) -> float:
    """How many independent votes `raters` votes on each of `items` are worth: design effect 1 + (m - 1) icc (Kish)."""
    return items * raters / (1 + (raters - 1) * icc)


def votes_needed(share: float, chance: float = 0.5, power: float = POWER) -> int:
    """Independent votes with which a true `share` differs from `chance` (two-sided 5 %) with this power."""
    z, reach = NormalDist().inv_cdf(1 - LEVEL / 2), NormalDist().inv_cdf(power)
    spread = z * math.sqrt(chance * (1 - chance)) + reach * math.sqrt(share * (1 - share))
    return math.ceil((spread / (share - chance)) ** 2)


def smallest_share(votes: float, chance: float = 0.5, power: float = POWER) -> float:
    """The smallest share above `chance` that `votes` independent votes show; NaN if even all of them would not."""
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


def told(mode: str, items: int, raters: float, systems: int) -> str:
    """One sentence: what this many rated items and raters can show, for each question."""
    votes = effective_votes(items, raters)
    seen = f"{items} items x {raters:.3g} raters = {items * raters:.0f} votes a question"
    worth = f" (worth {votes:.0f} independent ones)" if raters > 1 else ""
    if mode == "scores":
        return f"{seen}{worth}: a success rate is known to ±{100 * half_width(items):.0f} points over the edits"
    chance = 1 / systems if mode == "best" else 0.5
    share = smallest_share(votes, chance)
    where = " for each two systems" if mode == "pairwise" and systems > 2 else ""
    if math.isnan(share):
        return f"{seen}{worth}{where}: too few to show anything; {votes_needed(0.75, chance)} show a share of 75 %"
    shows = f"a true share of {100 * share:.0f} % or more shows in 4 studies of 5"
    return f"{seen}{worth}{where}: {shows} (chance is {100 * chance:.0f} %)"
