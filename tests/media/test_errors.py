"""Each mishap has its sentence: the path first, what is wrong, what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from eve_cli.errors import EveError, InputError, OutputError
from eve_cli.media.decode import VideoReader
from eve_cli.media.encode import VideoWriter
from tests.media.make import X264, barcode, ffmpeg, numbered

YUV = ("-pix_fmt", "yuv420p")
# Words of the libraries beneath that must never reach the user.
FORBIDDEN = ("1094995529", "Errno", "external library", "avcodec", "Invalid data found")


def missing(folder: Path) -> Path:
    return folder / "clip.mp4"


def empty_folder(folder: Path) -> Path:
    (folder / "shots").mkdir()
    return folder / "shots"


def empty(folder: Path) -> Path:
    (folder / "clip.mp4").touch()
    return folder / "clip.mp4"


def web_page(folder: Path) -> Path:
    (folder / "clip.mp4").write_text("<!doctype html>\n<title>Not found</title>")
    return folder / "clip.mp4"


def text(folder: Path) -> Path:
    (folder / "clip.mp4").write_text("hello there\n")
    return folder / "clip.mp4"


def noise(folder: Path) -> Path:
    (folder / "clip.bin").write_bytes(bytes([7, 255, 3, 0, 200, 9]) * 500)
    return folder / "clip.bin"


def no_index(folder: Path) -> Path:
    whole = numbered(folder / "whole.mp4", 60, *X264, *YUV)
    (folder / "clip.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return folder / "clip.mp4"


def only_sound(folder: Path) -> Path:
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", folder / "song.m4a")
    return folder / "song.m4a"


def unknown_codec(folder: Path) -> Path:
    whole = numbered(folder / "whole.mov", 3, *X264, *YUV)
    (folder / "clip.mov").write_bytes(whole.read_bytes().replace(b"avc1", b"xyz1"))
    return folder / "clip.mov"


def broken_picture(folder: Path) -> Path:
    (folder / "shots").mkdir()
    (folder / "shots" / "a.png").write_bytes(b"no picture")
    return folder / "shots"


INPUTS: list[tuple[Callable[[Path], Path], str]] = [
    (missing, "{}: no such file"),
    (empty_folder, "{}/: no images found (png, jpg, webp)"),
    (empty, "{}: not a video (the file is empty)"),
    (web_page, '{}: not a video (the file starts with "<!doctype html>": a web page saved as .mp4?)'),
    (text, '{}: not a video (the file starts with "hello there")'),
    (noise, "{}: not a video (its format is not known)"),
    (
        no_index,
        "{}: the recording is incomplete (its index is missing), probably an interrupted download or a camera that "
        "lost power; get the file again",
    ),
    (only_sound, "{}: has sound but no video"),
    (
        unknown_codec,
        '{}: video codec "xyz1" cannot be decoded; convert it first: ffmpeg -i {} -c:v libx264 -crf 12 out.mp4',
    ),
    (broken_picture, "{}/a.png: cannot be read as an image"),
]


@pytest.mark.parametrize("make,sentence", INPUTS, ids=[make.__name__ for make, _ in INPUTS])
def test_input(tmp_path: Path, make: Callable[[Path], Path], sentence: str) -> None:
    path = make(tmp_path)
    with pytest.raises(InputError) as caught:
        VideoReader(str(path))
    assert str(caught.value) == sentence.replace("{}", str(path))
    assert not any(word in str(caught.value) for word in FORBIDDEN)


@pytest.mark.parametrize("address", ["https://a.b/clip.mp4", "rtsp://camera", "concat:a|b", "data:video/mp4;base64,AA"])
def test_addresses_are_refused(address: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"{address}: only files are opened, never addresses; download it")):
        VideoReader(address)


def test_playlist_cannot_reach_out(tmp_path: Path) -> None:
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError):
        VideoReader(tmp_path / "list.m3u8")


def test_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.mp4").touch()

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"clip\.mp4: cannot read \(permission denied\)"):
        VideoReader(tmp_path / "clip.mp4")


@pytest.mark.parametrize("kind,length", [("mp4", "1.0"), ("ts", "1.0")])
def test_start_past_the_end(tmp_path: Path, kind: str, length: str) -> None:
    clip = numbered(tmp_path / f"clip.{kind}", 30, *X264, *YUV)
    told = re.escape(f"--start 12s is past the end ({clip} is {length} s long)")
    with pytest.raises(InputError, match=told), VideoReader(clip, start=12) as reader:
        list(reader)


OUTPUTS = [
    ("out.xyz", "out.xyz: unknown video type; use .mp4 .mov .mkv .webm .gif or a folder/"),
    ("out.avx", "out.avx: unknown video type; use .mp4 .mov .mkv .webm .gif or a folder/"),
    ("renders/out.mp4", "renders/: folder does not exist; create it first"),
    ("deep/er/shots/", "deep/er/: folder does not exist; create it first"),
]


@pytest.mark.parametrize("name,sentence", OUTPUTS)
def test_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, sentence: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError) as caught:
        VideoWriter(name)
    assert str(caught.value) == sentence
    assert not list(tmp_path.iterdir())


def test_disk_full_says_how_much_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eve_cli.media import mux

    clip = numbered(tmp_path / "clip.mp4", 30, *X264, *YUV)

    def fail(self: mux.Output, queued: mux.QueuedFrame) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mux.Output, "encode", fail)
    monkeypatch.setattr("eve_cli.media.encode._size", lambda file: 812_000_000)
    with VideoReader(clip) as reader:
        writer = VideoWriter(tmp_path / "out.mp4", like=reader.info)
        with pytest.raises(EveError) as caught:
            for _ in range(50):
                writer.write(barcode(0))
    told = r"out\.mp4: disk full after 812 MB \(need about [\d.]+ GB\); nothing was written"
    assert re.search(told, str(caught.value)), caught.value
