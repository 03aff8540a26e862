"""Folders, triplets and photographs: what is kept, what is dropped and why, and that draws repeat."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eve_cli.data import batches, folders, frames, photos, triplets
from eve_cli.errors import InputError, UsageError
from eve_cli.tasks import TASKS


def picture(path: Path, colour: tuple[int, int, int] = (200, 60, 30), size: tuple[int, int] = (40, 30)) -> Path:
    shade = np.linspace(0.3, 1, size[0])[None, :, None] * np.array(colour)[None, None]
    Image.fromarray(np.broadcast_to(shade, (size[1], size[0], 3)).astype(np.uint8)).save(path)
    return path


def video(path: Path, count: int = 6, brightness: int = 20) -> Path:
    from eve_cli.media.encode import VideoWriter

    with VideoWriter(path, size=(48, 32), fps=10) as writer:
        for number in range(count):
            writer.write(np.full((3, 32, 48), brightness + 20 * number, np.uint8))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "set"
    home.mkdir()
    picture(home / "a.png")
    (home / "a.txt").write_text("a red\n wall\n")
    picture(home / "b.jpg", (30, 80, 200))
    (home / "captions.csv").write_text('file,caption\nb.jpg,"a blue wall, plain"\n')
    picture(home / "none.png")
    video(home / "clip.mp4")
    (home / "metadata.jsonl").write_text('{"file_name": "clip.mp4", "text": "it grows light"}\n')
    (home / "broken.png").write_bytes(b"not a picture")
    (home / "broken.txt").write_text("broken")
    (home / "notes.md").write_text("notes")
    (home / ".hidden.png").write_bytes(b"")
    return home


def test_captions_come_from_text_files_and_tables(folder: Path) -> None:
    listing = folders.scan(folder, deep=True)
    assert {item.path.name: (item.kind, item.caption) for item in listing.items} == {
        "a.png": ("picture", "a red wall"),
        "b.jpg": ("picture", "a blue wall, plain"),
        "clip.mp4": ("video", "it grows light"),
    }


def test_what_is_dropped_is_said_with_its_reason(folder: Path) -> None:
    dropped = {d.where: d.reason for d in folders.scan(folder, deep=True).dropped}
    assert dropped.keys() == {"none.png", "broken.png", "notes.md"}
    assert dropped["none.png"] == "no caption"
    assert dropped["broken.png"].startswith("cannot be read")
    assert dropped["notes.md"] == "no picture or video (.md)"


def test_a_table_that_names_a_missing_file_is_an_error(folder: Path) -> None:
    (folder / "captions.jsonl").write_text('{"file": "a.png", "caption": "x"}\n{"file": "lost.png", "caption": "y"}\n')
    with pytest.raises(InputError, match=r"captions\.jsonl:2: there is no file 'lost\.png'"):
        folders.scan(folder)


def test_draws_from_a_folder_repeat_and_differ_by_seed(folder: Path) -> None:
    (folder / "broken.txt").unlink()
    one, same, other = (batches.open_source(str(folder)).pairs(seed, 5, 16) for seed in (1, 1, 2))
    assert torch.equal(one.source, same.source) and torch.equal(one.edited, same.edited)
    assert one.instructions == same.instructions != other.instructions
    assert one.source.shape == one.edited.shape == (5, 1, 3, 16, 16)
    assert one.changed.mean() > 0.1


def test_videos_of_a_folder_become_clips(folder: Path) -> None:
    (folder / "broken.txt").unlink()
    source = batches.open_source(str(folder))
    clips = source.clips(3, 4, 8, 16)  # longer than the six frames there are
    assert clips.frames.shape == (4, 8, 3, 16, 16) and clips.frames.min() >= 0 and clips.frames.max() <= 1
    plain = next(c for c, t in zip(clips.frames, clips.texts, strict=True) if t == "it grows light")
    levels = plain.mean((1, 2, 3))
    assert (levels[1:6] > levels[:5]).all() and levels[6] < levels[5]
    assert source.pictures(0, 6, 16).frames.shape == (6, 3, 16, 16)


def write_rows(file: Path, *rows: object) -> Path:
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


@pytest.fixture
def row(tmp_path: Path) -> dict[str, str]:
    picture(tmp_path / "in.png")
    picture(tmp_path / "out.png", (30, 60, 200))
    return {"input": "in.png", "instruction": "make it blue", "output_caption": "a blue wall", "output": "out.png"}


def test_triplets_give_both_pictures_cut_alike(tmp_path: Path, row: dict[str, str]) -> None:
    same = {**row, "output": "in.png", "task": "global"}
    source = batches.open_source(str(write_rows(tmp_path / "t.jsonl", row, "", same)))
    pairs = source.pairs(5, 8, 16)
    equal = [i for i, task in enumerate(pairs.tasks) if task == "global"]
    assert 0 < len(equal) < 8
    assert torch.equal(pairs.source[equal], pairs.edited[equal])
    assert pairs.changed.mean((1, 2, 3)).round().tolist() == [float(task != "global") for task in pairs.tasks]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"instruction": " "}, "instruction is missing or no text"),
        ({"output_caption": None}, "output_caption is missing or no text"),
        ({"task": "paint"}, "unknown task 'paint'"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"output": "lost.png"}, r"output 'lost\.png' does not exist"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: dict[str, str], change: dict, message: str) -> None:
    file = write_rows(tmp_path / "t.jsonl", row, {**row, **change})
    with pytest.raises(InputError, match=rf"t\.jsonl:2: {message}"):
        triplets.read(file)
    listing = triplets.scan(file)
    assert [item.row for item in listing.items] == [1] and [d.where for d in listing.dropped] == ["t.jsonl:2"]


def test_a_row_that_is_not_json_is_named(tmp_path: Path, row: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"t\.jsonl:1: the row is not JSON"):
        triplets.read(write_rows(tmp_path / "t.jsonl", "{", row))


def test_videos_of_unequal_length_are_an_error(tmp_path: Path, row: dict[str, str]) -> None:
    video(tmp_path / "in.mp4", 6)
    video(tmp_path / "out.mp4", 5)
    source = batches.open_source(str(write_rows(tmp_path / "t.jsonl", {**row, "input": "in.mp4", "output": "out.mp4"})))
    with pytest.raises(InputError, match="Row 1: input has 6 frames and output 5"):
        source.clips(0, 1, 4, 16)


def test_the_tasks_of_triplets_are_the_models() -> None:
    assert triplets.TASKS == TASKS


def test_photographs_are_cut_and_split(tmp_path: Path) -> None:
    for number in range(12):
        picture(tmp_path / f"{number:02}.png", (20 * number, 100, 50))
    (tmp_path / "broken.jpg").write_bytes(b"x")
    train, test = (photos.load(tmp_path, 16, 3, split) for split in ("train", "test"))
    assert train.shape == (30, 3, 16, 16) and test.shape == (6, 3, 16, 16) and train.dtype == torch.uint8
    assert torch.equal(train, photos.load(tmp_path, 16, 3, "train"))
    assert photos.mirrored(train, random.Random(0)).max() <= 1
    with pytest.raises(InputError, match="no picture"):
        photos.load(_empty(tmp_path), 16)


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def test_the_shelf_forgets_the_oldest_when_full(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{name}.png") for name in "abc"]
    cache = frames.ClipCache(30, room=2 * 3 * 30 * 40)
    for path in paths:
        assert cache.read(path).shape == (1, 3, 30, 40)
    assert list(cache.clips) == paths[1:]


def test_data_that_is_nothing_known_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="neither"):
        batches.open_source("wrold")
