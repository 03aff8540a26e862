"""Power, agreement and Bradley-Terry against figures that are known."""

import math

import numpy as np
import pytest

from eve_cli.rating import power
from eve_cli.rating.statistics import bradley_terry, krippendorff_alpha

# Krippendorff (2011): three coders, fifteen units.
CODERS = (
    "* * * * * 3 4 1 2 1 1 3 3 * 3",
    "1 * 2 1 3 3 4 3 * * * * * * *",
    "* * 2 1 3 4 4 * 2 1 1 3 3 * 4",
)


@pytest.mark.parametrize(("share", "votes"), [(0.53, 2178), (0.559, 562), (0.65, 85), (0.724, 37), (0.772, 25)])
def test_votes_needed_for_80_percent(share: float, votes: int) -> None:
    assert abs(power.votes_needed(share) - votes) <= 1
    assert power.smallest_share(power.votes_needed(share)) == pytest.approx(share, abs=6e-3)


def test_more_is_needed_away_from_nothing_and_less_is_reported() -> None:
    assert math.isnan(power.smallest_share(1)) and "too few" in power.describe("pairwise", 1, 1, 2)
    assert power.effective_votes(100, 5) == pytest.approx(500 / 2.2)
    assert "304 votes per question: a true share of 58 %" in power.describe("pairwise", 304, 1, 2)
    assert "chance is 17 %" in power.describe("best", 304, 1, 6) and "±9 points" in power.describe("scores", 127, 4, 2)


def test_krippendorff_of_the_published_example() -> None:
    rows = [coder.split() for coder in CODERS]
    units = [[int(value) for value in column if value != "*"] for column in zip(*rows, strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.691, abs=5e-4)
    assert krippendorff_alpha(units, interval=True) == pytest.approx(0.811, abs=5e-4)


@pytest.mark.parametrize("units", [[], [["a"], ["b"]], [["a", "a"], ["a"]]])
def test_no_agreement_is_reported_where_none_can_be(units: list[list[str]]) -> None:
    assert math.isnan(krippendorff_alpha(units))


def test_bradley_terry_finds_the_strengths_that_made_the_votes() -> None:
    p = np.array([1.0, 2.0, 4.0])
    wins = 700 * p[:, None] / (p[:, None] + p[None]) * (1 - np.eye(3))
    found = bradley_terry(np.stack([wins, wins.T]), pseudo_wins=0)
    assert np.diff(found[0]) == pytest.approx([400 * math.log10(2)] * 2, abs=1e-3)
    assert found[1] == pytest.approx(2000 - found[0], abs=1e-3) and found.mean() == pytest.approx(1000)


def test_an_undefeated_system_has_a_finite_score() -> None:
    found = bradley_terry([[0, 9, 9], [0, 0, 5], [0, 4, 0]])
    assert np.isfinite(found).all() and found[0] > found[1] > found[2]
