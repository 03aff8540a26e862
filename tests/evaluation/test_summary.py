"""What a run says: published values only where they may stand, warnings, and readable numbers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from eve_cli.evaluation import summary
from eve_cli.evaluation.metrics.base import Column
from eve_cli.evaluation.pairs import Pair
from eve_cli.evaluation.results import EditScores, Results, plain
from eve_cli.evaluation.sets import COPIED, EvalSet

FRAME = Column("clip_frame", "tgve/l14-allpairs", "cos", 1, "", "", {"tgve": {"EVE": 0.922}})
TEXT = Column("clip_text", "tgve/l14-text100", "logit", 1, "", "")


def summarised(frame: list[float], text: list[float], copied: list[float], whole: bool = True) -> dict:
    pairs = [Pair(str(i), f"v{i}", "style", Path("s"), Path("e")) for i in range(len(frame))]
    values = [{"clip_frame": f, "clip_text": t} for f, t in zip(frame, text, strict=True)]
    rows = [
        EditScores("eve", pair.id, pair.video, pair.task, 8, each) for pair, each in zip(pairs, values, strict=True)
    ]
    same = [
        EditScores(COPIED, p.id, p.video, p.task, 8, {"clip_frame": 0.9, "clip_text": c})
        for p, c in zip(pairs, copied, strict=False)
    ]
    asked = EvalSet("TGVE", {"eve": pairs, COPIED: pairs}, whole)
    return plain(summary.summarise(asked, Results([FRAME, TEXT], {"eve": rows, COPIED: same}), {}))


def test_published_values_stand_only_beside_the_whole_benchmark() -> None:
    full = summarised([0.9, 0.91], [27, 28], [20, 21])
    assert full["published"] == {"clip_frame": {"EVE": 0.922}}
    assert "EVE 0.922" in summary.markdown(full)
    for other in (
        summarised([0.9, 0.91], [27, 28], [20, 21], whole=False),
        summarised([0.9, math.nan], [27, 28], [20, 21]),
    ):
        assert other["published"] == {} and "0.922" not in summary.markdown(other)


def test_smooth_clips_that_do_not_follow_the_text_are_warned_about() -> None:
    assert summarised([0.9] * 3, [27, 28, 29], [20, 21, 22])["warnings"] == []
    (warning,) = summarised([0.99] * 3, [20, 21, 22], [20, 21, 22])["warnings"]
    assert warning.startswith("eve: clip_text is not clearly above") and "clip_frame" in warning


def test_unchanged_clips_are_counted() -> None:
    column = Column("viclip_unchanged", "viclip-l14/internvid/unchanged", "share", 0, "", "")
    rows = {
        name: [
            EditScores(name, str(i), f"v{i}", "style", 8, {column.name: float(value)}) for i, value in enumerate(values)
        ]
        for name, values in (("eve", (0, 1, 0)), ("sdedit", (0, 0, 0)), (COPIED, (1, 1, 1)))
    }
    (warning,) = summary.warnings(Results([column], rows))
    assert warning == "eve: 1 of 3 edits count as 0 in viclip_dir: unchanged."


def test_missing_values_are_counted_in_the_table() -> None:
    found = summarised([0.9, math.nan, 0.8], [27, 28, 29], [20, 21, 22])
    assert found["methods"]["eve"]["clip_frame"]["n"] == 2
    assert "2/3" in summary.markdown(found)


@pytest.mark.parametrize(
    ("low", "high", "better", "word"), [(1, 2, 1, "better"), (1, 2, -1, "worse"), (1, 2, 0, "tie")]
)
def test_verdicts(low: float, high: float, better: int, word: str) -> None:
    assert summary.verdict(low, high, better) == word
    assert summary.verdict(-1, high, better) == summary.verdict(math.nan, math.nan, better) == "tie"


@pytest.mark.parametrize(
    ("value", "text"), [(27.123, "27.12"), (0.92216, "0.9222"), (0.00123, "0.001230"), (340.2, "340.2")]
)
def test_numbers_have_about_four_digits(value: float, text: str) -> None:
    assert summary.number(value, summary.decimals([value])) == text
