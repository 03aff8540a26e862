"""Pages and plots: every text is escaped, the same run gives the same bytes, and matplotlib may be missing."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from eve_cli.evaluation import summary
from eve_cli.evaluation.metrics.base import Column
from eve_cli.evaluation.pairs import Pair
from eve_cli.evaluation.report import page, plots
from eve_cli.evaluation.results import EditScores, Results, plain
from eve_cli.evaluation.sets import EvalSet

HOSTILE = "<script>alert(1)</script>$\\frac$_'\"&"
COLUMNS = [Column("edit_acc", "r/a", "", 1, "", "help"), Column("bg_psnr", "r/b", "dB", 1, "", HOSTILE)]


@pytest.fixture
def run(tmp_path: Path) -> tuple[dict, EvalSet, Results]:
    """Two methods on six edits of three videos and two tasks; every text of a user is hostile."""
    pairs = [
        Pair(f"{HOSTILE}{i}", f"v{i % 3}", ("style", HOSTILE)[i % 2], Path(HOSTILE), Path(HOSTILE), HOSTILE, HOSTILE)
        for i in range(6)
    ]
    rows = {
        name: [
            EditScores(name, p.id, p.video, p.task, 8, {"edit_acc": i / 6 + n, "bg_psnr": math.nan if i == 2 else i})
            for i, p in enumerate(pairs)
        ]
        for n, name in enumerate(("one", HOSTILE))
    }
    eval_set, results = EvalSet(HOSTILE, {name: pairs for name in rows}, notes=[HOSTILE]), Results(COLUMNS, rows)
    return plain(summary.summarise(eval_set, results, {"far": HOSTILE}, notes=[HOSTILE])), eval_set, results


def test_no_text_of_a_user_becomes_markup(run: tuple[dict, EvalSet, Results], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    values, eval_set, results = run
    names = plots.write(tmp_path, values, results)
    assert names == ["edit-preservation", "edit_acc", "bg_psnr"]
    videos = {(HOSTILE, eval_set.pairs[0].id): {"edited": f"media/{HOSTILE}.mp4"}}
    text = page.write(tmp_path, values, eval_set, results, videos, names).read_text()
    assert len(re.findall(r"<script\b", text)) == len(re.findall(r"</script>", text)) == 2
    assert text.count("<svg") == 3 and "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "by task" in text
    for svg in (tmp_path / plots.FOLDER).glob("*.svg"):
        assert not [each for each in ET.parse(svg).iter() if each.tag.endswith("script")]


def test_plots_are_the_same_bytes_each_time(run: tuple[dict, EvalSet, Results], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    values, _, results = run
    files = []
    for folder in (tmp_path / "x", tmp_path / "y"):
        folder.mkdir()
        plots.write(folder, values, results)
        files.append({file.name: file.read_bytes() for file in (folder / plots.FOLDER).iterdir()})
    assert files[0] == files[1] and len(files[0]) == 6


def test_bars_show_the_means(run: tuple[dict, EvalSet, Results]) -> None:
    pytest.importorskip("matplotlib")
    values = run[0]
    with plots._style():
        figure = plots.bars(values, values["columns"][0])
        assert figure is not None and plots.bars(values, values["columns"][0] | {"name": "edit_acc"}) is not None
        heights = [bar.get_height() for bar in figure.axes[0].containers[0]]  # pyright: ignore
    tasks = values["methods"]["one"]["edit_acc"]["tasks"]
    expected = [values["methods"]["one"]["edit_acc"]["mean"], tasks["style"]["mean"], tasks[HOSTILE]["mean"]]
    assert heights == pytest.approx(expected)


def test_without_matplotlib_the_page_says_so(
    run: tuple[dict, EvalSet, Results], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    values, eval_set, results = run
    assert plots.write(tmp_path, values, results) == []
    plots.write_comparison(tmp_path / "a", [1.0], [2.0], "a", "b", "c")
    assert list(tmp_path.iterdir()) == []
    text = page.write(tmp_path, values, eval_set, results, {}, []).read_text()
    assert "pip install &#39;eve-cli[eval]&#39;" in text and "<svg" not in text and "bg_psnr" in text
