"""The table of what alignment is worth."""

import json
from pathlib import Path

import pytest
import torch

from eve_cli.cli.app import run
from eve_cli.data.world.edits import render_edit
from eve_cli.errors import InputError, UsageError
from eve_cli.evaluation import alignment_table, strips
from eve_cli.evaluation.settings import AlignmentBenchSettings
from tests.tiny import tiny_bundle

TEST = alignment_table.HeldOutEdits(tasks=("remove", "global"), each=2, frames=3, side=32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bench") / "tiny")


def test_the_truth_is_perfect_and_a_copy_is_nothing() -> None:
    drawn = render_edit(TEST.edits(), 3, 32, truth=True)
    true, copied = alignment_table.measure(drawn, drawn.edited), alignment_table.measure(drawn, drawn.source)
    assert (true["edit_acc"] == 1).all() and (true["ssim"] > 0.999).all() and (true["success"] == 1).all()
    assert (copied["edit_acc"] == 0).all() and (copied["success"] == 0).all()
    assert true.keys() == {column.name for column in alignment_table.COLUMNS}


def test_held_out_edits_are_the_same_each_time() -> None:
    assert [e.instruction for e in TEST.edits()] == [e.instruction for e in TEST.edits()]
    assert [e.task for e in TEST.edits()] == ["remove", "global"] * 2


def test_blurs_keep_what_does_not_change() -> None:
    flat = torch.full((1, 4, 3, 8, 8), 0.3)
    for smooth in (alignment_table.blurred, alignment_table.blurred_in_time):
        torch.testing.assert_close(smooth(flat), flat)
    noisy = torch.rand(1, 4, 3, 16, 16)
    for smooth in (alignment_table.blurred, alignment_table.blurred_in_time):
        assert smooth(noisy).var() < 0.6 * noisy.var()


def test_a_difference_counts_where_its_interval_is_clear_of_zero() -> None:
    base = {c.name: [0.5 + 0.01 * i for i in range(20)] for c in alignment_table.COLUMNS}
    more = {name: [v + 0.1 for v in values] for name, values in base.items()}
    noise = {name: [v + (-1) ** i for i, v in enumerate(values)] for name, values in base.items()}
    values = {"base": base, "more": more, "noise": noise}
    against = alignment_table.compare(values, "more", "base")
    assert against["edit_acc"].verdict == "better" and against["flicker"].verdict == "worse"
    assert alignment_table.compare(values, "noise", "base")["ssim"].verdict == "tie"
    table = alignment_table.markdown(values, "base")
    assert "▲" in table and "▼" in table and table.count("\n") == 4


@pytest.mark.slow
def test_lines_that_are_there_are_not_made_again(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = alignment_table.rows(str(model), "unaligned", {})
    first = alignment_table.table(lines, TEST, 2, tmp_path)
    monkeypatch.setattr(alignment_table, "load_editor", None)
    assert alignment_table.table(lines, TEST, 2, tmp_path) == first
    assert all(len(v) == 4 for row in first.values() for v in row.values())
    assert first["input copied"]["edit_acc"] == [0.0] * 4
    assert first["per frame"] != first["per frame, one noise"]
    with pytest.raises(InputError, match="another test"):
        alignment_table.table(lines, alignment_table.HeldOutEdits(each=3, frames=3, side=32), 2, tmp_path)


def test_strips_show_source_lines_and_truth(tmp_path: Path) -> None:
    made = {"one": torch.rand(4, 3, 3, 32, 32), "other": torch.rand(4, 3, 3, 32, 32)}
    files = strips.write(tmp_path, TEST, made, 1)
    assert files[0].with_suffix(".txt").read_text().splitlines()[1:] == ["source", "one", "other", "truth"]


def test_the_command_prints_a_table(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "alignment", "--model", str(model), "--each", "1", "--tasks", "remove", "--steps", "1"]
    assert run([*words, "--out", str(tmp_path / "out"), "--no-controls", "--strips", "1"]) == 0
    assert "| unaligned |" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "unaligned.1.json").read_text())["edit_acc"]
    assert list((tmp_path / "out" / "strips.1").glob("*.png"))


@pytest.mark.parametrize("changes", [{"steps": "many"}, {"steps": "0"}, {"aligned": "nameless"}])
def test_wrong_settings(changes: dict) -> None:
    with pytest.raises(UsageError, match="must"):
        AlignmentBenchSettings(**changes)
