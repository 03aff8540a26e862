"""Layouts of other trainers: read as they are, written and read again."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from eve_cli.cli import app
from eve_cli.data import batches, export, layouts
from eve_cli.data.sample import Item, Triplet
from eve_cli.errors import EveError, InputError, OutputError, UsageError
from tests.clips import make_clip

TEXTS = ["a red car, parked", "two swans"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips with text files beside them."""
    folder = tmp_path_factory.mktemp("videos")
    for number, text in enumerate(TEXTS):
        make_clip(folder / f"{number}.mp4", 6 + number, codec="h264")
        (folder / f"{number}.txt").write_text(text)
    return folder


def captions(path: Path) -> list[str]:
    listing = layouts.scan(path, deep=True)
    assert not listing.dropped, listing.dropped
    assert all(isinstance(item, Item) for item in listing.items)
    return [item.caption for item in listing.items if isinstance(item, Item)]


@pytest.mark.parametrize("layout", export.LAYOUTS)
def test_what_is_exported_is_read_again(layout: str, videos: Path, tmp_path: Path) -> None:
    items = list(layouts.scan(videos).items)
    out = export.write(export.clips_of(items), layout, tmp_path / "out")
    path = out / "dataset.toml" if (out / "dataset.toml").exists() else out
    listing = layouts.scan(path, deep=True)
    assert [item.caption for item in listing.items if isinstance(item, Item)] == TEXTS and not listing.dropped
    contents = [item.path.read_bytes() for item in listing.items if isinstance(item, Item)]
    assert contents == [(videos / f"{number}.mp4").read_bytes() for number in range(2)]
    assert batches.open_source(str(path)).clips(0, 1, 4, 16).frames.shape == (1, 4, 3, 16, 16)
    with pytest.raises(OutputError, match="exists already"):
        export.write(export.clips_of(items), layout, out)


@pytest.mark.parametrize("layout", [name for name in export.LAYOUTS if name not in export.PLAIN])
def test_triplets_keep_input_and_output_apart(layout: str, videos: Path, tmp_path: Path) -> None:
    triplet = Triplet(1, videos / "0.mp4", videos / "1.mp4", "make it two swans", "two swans", "a red car")
    out = export.write(export.clips_of([triplet]), layout, tmp_path / "out")
    (found,) = layouts.scan(out / "dataset.toml" if layout == "musubi" else out / "metadata.csv"
                            if layout == "videofolder" else out).items  # fmt: skip
    assert isinstance(found, Triplet) and found.instruction == "make it two swans"
    assert found.input.read_bytes() == triplet.input.read_bytes()
    assert found.output.read_bytes() == triplet.output.read_bytes()


def test_layouts_without_inputs_refuse_triplets(videos: Path, tmp_path: Path) -> None:
    triplet = Triplet(1, videos / "0.mp4", videos / "1.mp4", "i", "c")
    for layout in export.PLAIN:
        with pytest.raises(UsageError, match="no place for the input"):
            export.write(export.clips_of([triplet]), layout, tmp_path / "out")


def test_two_exports_to_shards_are_the_same_bytes(videos: Path, tmp_path: Path) -> None:
    clips = export.clips_of(list(layouts.scan(videos).items))
    one, other = (export.write(clips, "webdataset", tmp_path / name) / "00000.tar" for name in "ab")
    assert one.read_bytes() == other.read_bytes()


def row(videos: Path, number: int, **names: str) -> dict[str, str]:
    return {names["file"]: str(videos / f"{number}.mp4"), names["text"]: TEXTS[number]}


@pytest.mark.parametrize(
    ("file", "text", "name"),
    [
        ("video_path", "caption", "musubi.jsonl"),
        ("file_path", "text", "videox.json"),
        ("video", "prompt", "diffsynth.csv"),
        ("path", "text", "opensora.csv"),
    ],
)
def test_tables_of_other_trainers(file: str, text: str, name: str, videos: Path, tmp_path: Path) -> None:
    rows = [row(videos, number, file=file, text=text) for number in range(2)]
    if name.endswith("csv"):
        lines = [f"{file},{text}", *(f'{r[file]},"{r[text]}"' for r in rows)]
        (tmp_path / name).write_text("\n".join(lines))
    else:
        (tmp_path / name).write_text(
            json.dumps(rows) if name.endswith("json") else "".join(json.dumps(r) + "\n" for r in rows)
        )
    assert captions(tmp_path / name) == TEXTS


def test_musubi_directories_with_control_videos(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    make_clip(tmp_path / "control" / "0.mp4", 6, codec="h264")
    config = tmp_path / "set.toml"
    config.write_text(f"[[datasets]]\nvideo_directory = '{videos}'\ncontrol_directory = 'control'\n")
    listing = layouts.scan(config)
    assert [(t.input.name, t.output.name) for t in listing.items if isinstance(t, Triplet)] == [("0.mp4", "0.mp4")]
    assert [(d.where, d.reason) for d in listing.dropped] == [("1.mp4", "has no control video")]


def test_shards_cannot_write_elsewhere_or_hold_links(videos: Path, tmp_path: Path) -> None:
    shard = tmp_path / "s.tar"
    with tarfile.open(shard, "w") as tar:
        for name in ("../../escaped.mp4", "/abs.mp4"):
            tar.add(videos / "0.mp4", name)
        link = tarfile.TarInfo("link.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        text = tarfile.TarInfo("../../escaped.txt")
        text.size = 3
        tar.addfile(text, io.BytesIO(b"car"))
    listing = layouts.scan(shard)
    assert [item.caption for item in listing.items if isinstance(item, Item)] == ["car"]
    assert [d.reason for d in listing.dropped] == ["no caption"]
    assert not list(tmp_path.rglob("escaped*")) and not (tmp_path.parent / "escaped.mp4").exists()


@pytest.mark.parametrize(
    ("name", "content", "kind", "words"),
    [
        ("a.toml", "x = 1", InputError, "neither"),
        ("a.toml", "[[datasets]]\nvideo_directory = 'none'", InputError, "does not exist"),
        ("a.tar", "no archive", InputError, r"cannot be read as a \.tar file"),
        ("a.json", "[" * 100_000, InputError, "nested too deeply"),
        ("a.mp3", "", UsageError, "neither a folder"),
        ("a.jsonl", '{"video": "x.mp4", "instruction": "i", "output_caption": "c"}', UsageError, "for eve align"),
        ("a.csv", "file,caption\nnone.mp4,c", None, "does not exist"),
        ("a.csv", f"file,caption\n{'n' * 300}.mp4,c", None, "does not exist"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, name: str, content: str, kind: type[EveError] | None, words: str):
    (tmp_path / name).write_text(content)
    if kind is None:
        assert words in layouts.scan(tmp_path / name).dropped[0].reason
        return
    with pytest.raises(kind, match=words):
        layouts.scan(tmp_path / name)


def test_lists_of_unequal_length_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a\nb\n")
    (tmp_path / "videos.txt").write_text("a.mp4\n")
    with pytest.raises(InputError, match=r"2 lines and videos\.txt 1"):
        layouts.scan(tmp_path)


def test_the_command_exports_and_names_the_folder(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    assert app.run(["data", "export", str(videos), "--to", "finetrainers", "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n" and (out / "prompts.txt").read_text().splitlines() == TEXTS
    assert app.run(["data", "export", str(videos), "--to", "other", "-o", str(tmp_path / "b")]) == 2
