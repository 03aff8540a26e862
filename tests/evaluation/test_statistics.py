"""Intervals, tests and shares: known answers, and that videos, not edits, are what is drawn."""

import math
import random

import pytest

from eve_cli.evaluation.statistics import cluster_bootstrap, paired, sign_test, wilson


def test_the_mean_weighs_every_edit_and_the_interval_holds_it() -> None:
    found = cluster_bootstrap([1.0, 2.0, 3.0, 10.0], ["a", "a", "b", "c"])
    assert found.mean == 4.0 and found.low < 4.0 < found.high
    assert found == cluster_bootstrap([1.0, 2.0, 3.0, 10.0], ["a", "a", "b", "c"])
    many = [float(i * i) for i in range(40)]
    assert cluster_bootstrap(many, range(40)) != cluster_bootstrap(many, range(40), seed=1)


def test_equal_edits_of_a_video_make_the_interval_no_narrower() -> None:
    rng = random.Random(0)
    each = [rng.gauss(0, 1) for _ in range(30)]
    once = cluster_bootstrap(each, range(30))
    eight = cluster_bootstrap([v for v in each for _ in range(8)], [i for i in range(30) for _ in range(8)])
    as_if_apart = cluster_bootstrap([v for v in each for _ in range(8)], range(240))
    assert eight.high - eight.low == pytest.approx(once.high - once.low, rel=1e-5)
    assert (eight.high - eight.low) > 2 * (as_if_apart.high - as_if_apart.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = random.Random(1)
    hits = 0
    for _ in range(200):
        videos = [rng.gauss(0, 1) for _ in range(25)]
        found = cluster_bootstrap(
            [v + rng.gauss(0, 0.5) for v in videos for _ in range(3)], [i for i in range(25) for _ in range(3)], 500
        )
        hits += found.low <= 0 <= found.high
    assert 178 <= hits <= 199  # a percentile interval of 25 clusters is a little narrow


@pytest.mark.parametrize(("values", "mean"), [([], math.nan), ([math.nan], math.nan), ([2.0, math.nan], 2.0)])
def test_too_little_gives_no_interval(values: list[float], mean: float) -> None:
    found = cluster_bootstrap(values, range(len(values)))
    assert math.isnan(found.low) and math.isnan(found.high)
    assert found.mean == mean or (math.isnan(found.mean) and math.isnan(mean))


def test_paired_leaves_out_what_one_lacks_and_tests_over_videos() -> None:
    found = paired([1, 2, 3, math.nan, 5, 5], [0, 1, 2, 3, 5, 6], ["a", "a", "b", "b", "c", "d"])
    assert (found.wins, found.losses, found.ties) == (3, 1, 1)
    assert found.difference.mean == pytest.approx(2 / 5) and found.share == 3.5 / 5
    assert found.p == sign_test(2, 1)  # a and b won, d lost, c neither


@pytest.mark.parametrize(
    ("wins", "losses", "p"), [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (8, 2, 0.109375), (2, 8, 0.109375)]
)
def test_sign_test(wins: int, losses: int, p: float) -> None:
    assert sign_test(wins, losses) == p


def test_wilson_has_the_textbook_values() -> None:
    found = wilson(8, 10)
    assert found.mean == 0.8 and (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 5).low == 0 and wilson(5, 5).high == 1 and math.isnan(wilson(0, 0).mean)
