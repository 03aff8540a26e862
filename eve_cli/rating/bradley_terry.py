"""One scale for three systems and more, from who beat whom."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PSEUDO_WINS = 0.25  # of each over each: without it, one who never lost has no finite score
ROUNDS, CLOSE = 1000, 1e-9


def strengths(wins: npt.ArrayLike, pseudo: float = PSEUDO_WINS) -> npt.NDArray[np.float64]:
    """Bradley-Terry scores 400 log10(p) + 1000, of mean 1000, as `wins[..., i, j]` of i over j tell; ties count half.

    wins (..., systems, systems) gives (..., systems). By minorisation-maximisation (Hunter 2004, equation 3).
    """
    found = np.asarray(wins, float)
    found = found + pseudo * (1 - np.eye(found.shape[-1]))
    met = found + found.swapaxes(-1, -2)
    won = found.sum(-1)
    p = np.ones(found.shape[:-1])
    for _ in range(ROUNDS):
        fresh = won / (met / (p[..., :, None] + p[..., None, :])).sum(-1)
        fresh /= np.exp(np.log(fresh).mean(-1, keepdims=True))
        moved = np.abs(fresh / p - 1).max()
        p = fresh
        if moved < CLOSE:
            break
    return 400 * np.log10(p) + 1000
