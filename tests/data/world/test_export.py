"""`eve data world`: clips, the truth behind them, and tables; whole or not at all."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from eve_cli.cli import app
from eve_cli.data import triplets
from eve_cli.data.world import export
from eve_cli.data.world.edits import render_edit
from eve_cli.data.world.scene import Scene, Thing, is_held_out
from eve_cli.errors import OutputError
from eve_cli.media.decode import VideoReader


def command(folder: Path, *words: str) -> int:
    return app.run(["data", "world", "--out", str(folder), "-n", "2", "--size", "48x32", "--frames", "3", *words])


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / export.EDITS).read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("export") / "world"
    assert command(home, "--task", "add", "--task", "style", "--seed", "3") == 0
    return home


def test_clips_hold_what_the_world_draws(folder: Path) -> None:
    edits = list(export.Export(2, (48, 32), 3, tasks=("add", "style"), seed=3).edits())
    drawn = render_edit(edits, 3, (48, 32), truth=True)
    for number, (edit, row) in enumerate(zip(edits, rows(folder), strict=True)):
        assert (row["task"], row["instruction"], row["output_caption"]) == (edit.task, edit.instruction, edit.caption)
        for key, true in (("input", drawn.source), ("output", drawn.edited)):
            with VideoReader(folder / row[key]) as reader:
                frames = torch.stack([torch.from_numpy(frame.rgb.copy()) for frame in reader]) / 255
                assert reader.info.fps == 8
            assert frames.shape == (3, 3, 32, 48)
            assert (frames - true[number]).abs().mean() < 0.05
        kept = load_file(folder / row["truth"])
        assert torch.equal(kept["changed"], drawn.changed[number].byte())
        assert torch.allclose(
            kept["source.masks"] / 255, drawn.before.masks[number, : len(edit.source.things)], atol=3e-3
        )
        assert drawn.after.flow is not None
        assert torch.allclose(kept["edited.flow"].float(), drawn.after.flow[number], atol=0.02)
        assert (folder / row["strip"]).stat().st_size > 100


def test_scenes_are_plain_values(folder: Path) -> None:
    for edit, row in zip(export.Export(2, tasks=("add", "style"), seed=3).edits(), rows(folder), strict=True):
        for key, scene in (("scene", edit.source), ("edited_scene", edit.target)):
            things = tuple(Thing(**thing) for thing in row[key].pop("things"))
            assert Scene(**row[key], things=things) == scene
        assert (row["subject"], row["look"]) == (edit.subject, edit.look)


def test_the_triplets_can_be_trained_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [row.task for row in triplets.read(folder / export.TRIPLETS)] == ["add", "style"]
    assert app.run(["data", "check", str(folder / export.TRIPLETS), "--strict"]) == 0


def test_stdout_holds_only_the_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path / "a") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'a'}\n"
    assert command(tmp_path / "b", "--format", "json", "--held-out") == 0
    assert json.loads(capsys.readouterr().out)["edits"] == 2
    for row in rows(tmp_path / "b"):
        scenes = [Scene(**{**row[k], "things": tuple(Thing(**t) for t in row[k]["things"])}) for k in KEYS]
        assert any(map(is_held_out, scenes))


KEYS = ("scene", "edited_scene")


def test_a_folder_that_holds_something_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert command(tmp_path) == 2 and "not empty" in capsys.readouterr().err
    assert command(tmp_path, "--overwrite") == 2 and "not replaced" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_export_is_replaced_only_when_asked_for(tmp_path: Path) -> None:
    home = tmp_path / "world"
    assert command(home, "--seed", "1") == 0
    before = rows(home)
    assert command(home, "--seed", "2") == 2 and rows(home) == before
    assert command(home, "--seed", "2", "--overwrite") == 0 and rows(home) != before
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def test_a_broken_export_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        export.write(tmp_path / "world", export.Export(2, (32, 32), 2), on_edit=stop)
    assert list(tmp_path.iterdir()) == []


def test_the_picture_of_a_large_clip_is_small(tmp_path: Path) -> None:
    home = export.write(tmp_path / "world", export.Export(1, (320, 400), 1))
    with Image.open(home / rows(home)[0]["strip"]) as image:
        assert image.size == (128, 2 * export.TALLEST + 2)


@pytest.mark.parametrize("words", [["--size", "8"], ["--size", "63"], ["--size", "big"], ["--task", "fly"]])
def test_wrong_settings_are_usage_errors(tmp_path: Path, words: list[str]) -> None:
    assert command(tmp_path / "world", *words) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_command_repeats_itself(tmp_path: Path) -> None:
    for name in ("a", "b"):
        export.write(tmp_path / name, export.Export(1, (32, 32), 2, seed=4))
    for file in sorted((tmp_path / "a").rglob("*.*")):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes(), file.name
