"""`eve data check` and `eve data show`."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from eve_cli.cli import app
from eve_cli.data import frames, inputs
from eve_cli.errors import InputError
from tests.clips import make_clip


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


@pytest.fixture
def aligned(tmp_path: Path) -> Path:
    """A folder with two clips and inputs of eve align: two rows that can be used, one that is too short."""
    make_clip(tmp_path / "long.mp4", 12, codec="h264")
    make_clip(tmp_path / "short.mp4", 5, codec="h264")
    texts = {"instruction": "make it snowy", "output_caption": "snow"}
    rows = [{"video": name, **texts} for name in ("long.mp4", "short.mp4")]
    rows.append({"video": "long.mp4", "start": 0.2, "end": 1.0, "license": "CC0", **texts})
    (tmp_path / "inputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.mark.parametrize("name", [".", "inputs.jsonl"])
def test_inputs_of_an_alignment_are_checked_too(aligned: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["data", "check", str(aligned / name), "--json"]) == 0
    reason = "too short: 5 frames, of which 8 are needed"
    assert json.loads(capsys.readouterr().out) == {
        "kept": 2,
        "dropped": [{"where": "inputs.jsonl:2", "reason": reason}],
    }
    assert app.run(["data", "check", str(aligned / name), "--frames", "5", "--strict"]) == 0


def test_inputs_are_shown_with_their_instructions(aligned: Path) -> None:
    assert app.run(["data", "show", str(aligned), "-o", str(aligned / "sheet.png"), "--side", "32"]) == 0
    with Image.open(aligned / "sheet.png") as image:
        assert image.size == (2 * (4 * 128 + 8), 2 * (128 + 36))


def test_too_short_clips_are_an_error_before_anything_is_prepared(aligned: Path) -> None:
    with pytest.raises(InputError, match=r"inputs\.jsonl:2: too short: 5 frames, of which 8 are needed"):
        inputs.open_inputs(str(aligned), length=8)


def test_a_video_is_opened_once_however_many_rows_name_it(aligned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    class Counting(frames.VideoReader):
        def __init__(self, src: Path, *args: object, **settings: object) -> None:
            opened.append(Path(src).name)
            super().__init__(src, *args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(frames, "VideoReader", Counting)
    row = {"video": "long.mp4", "instruction": "make it snowy", "output_caption": "snow"}
    (aligned / "inputs.jsonl").write_text((json.dumps(row) + "\n") * 50)
    assert len(inputs.open_inputs(str(aligned)).rows) == 50  # type: ignore[union-attr]
    assert opened == ["long.mp4"]


def test_a_part_is_read_by_its_seconds_and_alone(aligned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = frames.read(aligned / "long.mp4")
    source = inputs.FileInputs.open(aligned / "inputs.jsonl")
    part = source.points([2], 8, 64).frames[0]  # frames 2 to 9 at 10 a second
    whole = frames.square(frames.read(aligned / "long.mp4", short_side=80), 64)
    assert torch.equal(part, whole[2:10])
    monkeypatch.setattr(frames, "KEPT_CLIP", 0)  # as if it were large
    monkeypatch.setattr(frames, "read", None)
    large = inputs.FileInputs(source.rows)
    assert torch.equal(large.points([2], 8, 64).frames[0], part)
    assert large.cache is not None and not large.cache.clips
    assert torch.equal(frames.read_part(aligned / "long.mp4", 3, 4), clip[3:7])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"start": "1"}, "start must be a number of seconds"),
        ({"end": float("nan")}, "end must be a number of seconds"),
        ({"start": 60}, "too short: 0 frames"),
        ({"instruction": "\ud800 it"}, "no text"),
        ({"video": "n" * 300 + ".mp4"}, "does not exist"),
        ({"video": "a\0.mp4"}, "does not exist"),
    ],
)
def test_a_wrong_row_is_dropped_with_its_reason(aligned: Path, change: dict, words: str) -> None:
    row = {"video": "long.mp4", "instruction": "make it snowy", "output_caption": "snow"} | change
    (aligned / "inputs.jsonl").write_text(json.dumps(row) + "\n" + "[" * 100_000 + "\n")
    dropped = inputs.scan(aligned / "inputs.jsonl").dropped
    assert words in dropped[0].reason and "nested too deeply" in dropped[1].reason
