"""`eve data check` and `eve data show`."""

import json
from pathlib import Path

import pytest
from PIL import Image

from eve_cli.cli import app


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        Image.new("RGB", (40, 30), "red").save(tmp_path / f"{name}.png")
    (tmp_path / "a.txt").write_text("a red wall")
    return tmp_path


def test_check_counts_and_gives_reasons(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["data", "check", str(folder), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"kept": 1, "dropped": [{"where": "b.png", "reason": "no caption"}]}
    assert "1 of 2" in shown.err and "1 · no caption: b.png" in shown.err
    assert app.run(["data", "check", str(folder), "--strict"]) == 7


def test_check_fails_where_nothing_can_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["data", "check", str(tmp_path)]) == 7
    assert app.run(["data", "check", str(tmp_path / "none.txt")]) == 2


@pytest.mark.parametrize(("data", "draws"), [("world", "pairs"), ("world", "clips"), ("folder", "pictures")])
def test_show_draws_a_sheet(data: str, draws: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = folder / "sheet.png"
    words = [
        "data",
        "show",
        data if data == "world" else str(folder),
        "-o",
        str(sheet),
        "--count",
        "3",
        "--draws",
        draws,
    ]
    assert app.run([*words, "--side", "32"]) == 0
    assert capsys.readouterr().out == f"{sheet}\n"
    with Image.open(sheet) as image:
        assert min(image.size) > 100 and len(image.getcolors(1 << 20) or []) > 2
