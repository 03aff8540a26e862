"""Attachments, covers, marks of 3D pictures, comments, loops: kept where the output holds them, noted where not."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from eve_cli.media.decode import VideoReader
from eve_cli.media.encode import VideoWriter
from eve_cli.media.stills import StillWriter
from tests.media.make import X264, ffmpeg, read
from tests.media.test_writer_sound import edit

PICTURE = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=8:d=0.5", *X264, "-pix_fmt", "yuv420p")


@pytest.fixture
def with_font(tmp_path: Path) -> Path:
    (tmp_path / "a.ttf").write_bytes(b"a font")
    attached = ("-attach", tmp_path / "a.ttf", "-metadata:s:t", "mimetype=application/x-truetype-font")
    ffmpeg(*PICTURE, *attached, "-metadata:s:v", "stereo_mode=left_right", tmp_path / "in.mkv")
    return tmp_path / "in.mkv"


def test_fonts_and_marks_stay_in_matroska(with_font: Path, tmp_path: Path) -> None:
    assert edit(with_font, tmp_path / "o.mkv") == []
    with av.open(str(tmp_path / "o.mkv")) as container:
        (font,) = container.streams.attachments
        assert (font.name, font.mimetype, font.data) == ("a.ttf", "application/x-truetype-font", b"a font")
        assert container.streams.video[0].metadata["stereo_mode"] == "left_right"


@pytest.mark.parametrize(
    ("kind", "notes"),
    [
        ("mp4", ["its attachments (a.ttf) do not go into .mp4", "its mark of a 3D picture does not go into .mp4"]),
        ("webm", ["its attachments (a.ttf) do not go into .webm"]),
    ],
)
def test_what_a_type_cannot_hold_is_noted_once(with_font: Path, tmp_path: Path, kind: str, notes: list[str]) -> None:
    assert edit(with_font, tmp_path / f"o.{kind}") == [f"{with_font}: {note}" for note in notes]


@pytest.mark.parametrize("kind", ["mp4", "mkv", "mov", "webm"])
def test_a_cover_goes_along_where_it_can(tmp_path: Path, kind: str) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "cover.jpg")
    cover = ("-map", 0, "-map", 1, "-c:v:1", "copy", "-disposition:v:1", "attached_pic")
    ffmpeg(*PICTURE[:4], "-i", tmp_path / "cover.jpg", *X264, "-pix_fmt", "yuv420p", *cover, tmp_path / "in.mp4")
    notes = edit(tmp_path / "in.mp4", tmp_path / f"o.{kind}")
    with av.open(str(tmp_path / f"o.{kind}")) as container:
        streams = [stream for stream in container.streams.video if stream.codec_context.name == "mjpeg"]
        packets = [bytes(packet) for packet in container.demux(*streams) if packet.size] if streams else []
    if kind in ("mp4", "mkv"):
        assert packets == [(tmp_path / "cover.jpg").read_bytes()] and notes == []
    else:
        assert notes == [f"{tmp_path / 'in.mp4'}: its cover picture does not go into .{kind}"] and not streams
    assert len(read(tmp_path / f"o.{kind}")) == 4


def test_an_mp4_of_few_frames_has_their_length(tmp_path: Path) -> None:
    ffmpeg(*PICTURE, tmp_path / "in.mkv")
    edit(tmp_path / "in.mkv", tmp_path / "o.mp4")
    with VideoReader(tmp_path / "o.mp4") as reader:
        assert reader.info.duration == Fraction(1, 2)


def test_matroska_has_the_same_bytes_each_time(with_font: Path, tmp_path: Path) -> None:
    digests = set()
    for _ in range(2):
        edit(with_font, tmp_path / "o.mkv")
        digests.add(hashlib.sha256((tmp_path / "o.mkv").read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize("loop", [None, 0, 3])
def test_a_gif_stays_transparent_and_is_repeated_as_often(tmp_path: Path, loop: int | None) -> None:
    pictures = []
    for number in range(5):
        pixels = np.zeros((64, 96, 4), np.uint8)
        pixels[10 + number : 30 + number, 10:30] = (255, 0, 0, 255)
        pictures.append(Image.fromarray(pixels))
    options = {} if loop is None else {"loop": loop}
    pictures[0].save(
        tmp_path / "in.gif", save_all=True, append_images=pictures[1:], duration=100, disposal=2, **options
    )
    with VideoReader(tmp_path / "in.gif") as reader, VideoWriter(tmp_path / "o.gif", like=reader.info) as writer:
        for frame in reader:
            writer.write(frame.rgb, frame.pts, frame.duration, frame.alpha)
    with Image.open(tmp_path / "o.gif") as image:
        assert image.n_frames == 5 and image.info.get("loop") == loop  # pyright: ignore
        image.seek(2)
        result = np.asarray(image.convert("RGBA"))
    assert result[0, 0, 3] == 0 and result[20, 20].tolist() == [255, 0, 0, 255]


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "avif"])
def test_a_picture_keeps_its_texts_resolution_and_description(tmp_path: Path, kind: str) -> None:
    source, result, texts = Image.new("RGB", (32, 24), "red"), tmp_path / f"o.{kind}", PngInfo()
    texts.add_text("Author", "me")
    texts.add_itxt("Title", "a café")
    exif = Image.Exif()
    exif[0x010E] = "what it shows"
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    options = {"pnginfo": texts} if kind == "png" else {"xmp": xmp}
    source.save(tmp_path / f"in.{kind}", exif=exif, dpi=(300, 300), **options)
    with StillWriter(str(result), str(tmp_path / f"in.{kind}"), comment="the record") as writer:
        writer.write(np.zeros((3, 24, 32), np.uint8))
    with Image.open(result) as image:
        tags = image.getexif()
        assert tags[0x010E] == "what it shows" and tags.get_ifd(0x8769)[0x9286] == b"ASCII\0\0\0the record"
        if kind == "png":
            assert image.text == {"Author": "me", "Title": "a café"}  # pyright: ignore
        else:
            assert image.info["xmp"] == xmp
        if kind in ("png", "jpg"):
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_without_a_description_the_record_is_the_description(tmp_path: Path) -> None:
    Image.new("RGB", (32, 24)).save(tmp_path / "in.png")
    with StillWriter(str(tmp_path / "o.png"), str(tmp_path / "in.png"), comment="the record") as writer:
        writer.write(np.zeros((3, 24, 32), np.uint8))
    with Image.open(tmp_path / "o.png") as image:
        assert image.getexif()[0x010E] == "the record"


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv", "webm"])
def test_the_users_comment_stays_beside_the_record(tmp_path: Path, kind: str) -> None:
    ffmpeg(*PICTURE, "-metadata", "comment=mine", tmp_path / "in.mp4")
    with (
        VideoReader(tmp_path / "in.mp4") as reader,
        VideoWriter(tmp_path / f"o.{kind}", like=reader.info, record="the record") as writer,
    ):
        for frame in reader:
            writer.write(frame.rgb, frame.pts, frame.duration)
    with av.open(str(tmp_path / f"o.{kind}")) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    assert tags["comment"] == "mine" and tags["description"] == "the record"
