"""Intervals, tests and shares: known answers, and that videos, not edits, are what is drawn."""

import math
import random
import sys

import pytest
import torch

from eve_cli.errors import UsageError
from eve_cli.evaluation.statistics import bootstrap, paired, sign_test, wilson


def test_the_mean_weighs_every_edit_and_the_interval_holds_it() -> None:
    found = bootstrap([1.0, 2.0, 3.0, 10.0], ["a", "a", "b", "c"])
    assert found.mean == 4.0 and found.low < 4.0 < found.high
    assert found == bootstrap([1.0, 2.0, 3.0, 10.0], ["a", "a", "b", "c"])
    many = [float(i * i) for i in range(40)]
    assert bootstrap(many, range(40)) != bootstrap(many, range(40), seed=1)


def test_equal_edits_of_a_video_make_the_interval_no_narrower() -> None:
    rng = random.Random(0)
    each = [rng.gauss(0, 1) for _ in range(30)]
    once = bootstrap(each, range(30))
    eight = bootstrap([v for v in each for _ in range(8)], [i for i in range(30) for _ in range(8)])
    as_if_apart = bootstrap([v for v in each for _ in range(8)], range(240))
    assert eight.high - eight.low == pytest.approx(once.high - once.low, rel=1e-5)
    assert (eight.high - eight.low) > 2 * (as_if_apart.high - as_if_apart.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = random.Random(1)
    hits = 0
    for _ in range(200):
        videos = [rng.gauss(0, 1) for _ in range(25)]
        found = bootstrap(
            [v + rng.gauss(0, 0.5) for v in videos for _ in range(3)], [i for i in range(25) for _ in range(3)], 500
        )
        hits += found.low <= 0 <= found.high
    assert 178 <= hits <= 199  # a percentile interval of 25 clusters is a little narrow


@pytest.mark.parametrize(("values", "mean"), [([], math.nan), ([math.nan], math.nan), ([2.0, math.nan], 2.0)])
def test_too_little_gives_no_interval(values: list[float], mean: float) -> None:
    found = bootstrap(values, range(len(values)))
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


@pytest.mark.parametrize(("k", "n"), [(0, 7), (3, 7), (7, 7), (8, 10), (120, 400)])
def test_wilson_agrees_with_scipy(k: int, n: int) -> None:
    expected = pytest.importorskip("scipy.stats").binomtest(k, n).proportion_ci(method="wilson")
    found = wilson(k, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_without_units_every_value_is_a_scene_of_its_own() -> None:
    values = torch.cat([torch.randn(200, generator=torch.Generator().manual_seed(3)) + 2, torch.tensor([torch.nan])])
    mean, low, high = bootstrap(values)
    assert low < mean < high and low < 2 < high and high - low < 0.4
    assert (mean, low, high) == bootstrap(values) == bootstrap(values, range(201))
    assert all(v != v for v in bootstrap(torch.tensor([torch.nan])))


def test_without_scipy_intervals_work_and_the_sign_test_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    found = paired([1.0, 2.0], [0.0, 0.0], ["a", "b"])
    assert found.difference.mean == 1.5
    with pytest.raises(UsageError, match=r"eve-cli\[eval\]"):
        _ = found.p
