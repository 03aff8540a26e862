"""What is written: exact times, exact colour with its tags, sizes, and files that players take."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from eve_cli.errors import OutputError, UsageError
from eve_cli.media import codecs
from eve_cli.media.clip import Picture
from eve_cli.media.decode import VideoReader
from eve_cli.media.encode import VideoWriter
from tests.media.make import (
    LOSSLESS,
    X264,
    barcode,
    ffmpeg,
    number_of,
    numbered,
    numbered_vfr,
    numbers,
    raw,
    read,
    rgb_input,
)

FAST = {"crf": 0, "preset": "ultrafast"}


def copied(source: Path, target: Path, **options: object) -> list[str]:
    """Read a clip and write it again; give the writer's notes."""
    with VideoReader(source) as reader, VideoWriter(target, like=reader.info, **options) as writer:  # type: ignore[arg-type]
        for frame in reader:
            writer.write(frame.rgb, frame.pts, frame.duration)
    return writer.notes


def boxes(path: Path) -> Iterator[tuple[str, bytes]]:
    """List the top-level boxes of an mp4 or mov file."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        yield name.decode("latin1"), data[at + 8 : at + size]
        at += size


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("rate", ["24000/1001", "60000/1001", "25", "12.5", "30", "15"])
def test_constant_rate(tmp_path: Path, kind: str, rate: str) -> None:
    path, fps = tmp_path / f"a.{kind}", Fraction(rate)
    with VideoWriter(path, fps=fps, **FAST) as writer:
        for index in range(20):
            writer.write(barcode(index), index / fps, 1 / fps)
    with VideoReader(path) as reader:
        frames = list(reader)
        assert reader.info.fps == fps and not reader.info.is_vfr
    assert [number_of(frame.rgb) for frame in frames] == list(range(20))
    assert [(frame.pts, frame.duration) for frame in frames] == [(index / fps, 1 / fps) for index in range(20)]


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv", "webm"])
def test_uneven_times(tmp_path: Path, kind: str) -> None:
    ticks = [0, *np.cumsum(np.random.default_rng(3).integers(900, 9000, 25)).tolist()]
    source = numbered_vfr(tmp_path / "v.mp4", ticks, Fraction(1, 90000))
    copied(source, tmp_path / f"o.{kind}", **FAST)
    with VideoReader(source) as before, VideoReader(tmp_path / f"o.{kind}") as after:
        one, two = list(before), list(after)
        if kind in ("mp4", "mov"):
            assert after.info.fps == before.info.fps
            held = sum((frame.duration for frame in one), one[0].pts)
            assert abs(_movie_seconds(tmp_path / f"o.{kind}") - held) < Fraction(1, 1000)
    allowed = 0 if kind in ("mp4", "mov") else Fraction(1, 2000)
    assert len(one) == len(two) and max(abs(a.pts - b.pts) for a, b in zip(one, two, strict=True)) <= allowed


def _movie_seconds(path: Path) -> Fraction:
    """Read the duration of the whole from the movie header (version 0)."""
    moov = dict(boxes(path))["moov"]
    at = moov.index(b"mvhd") + 4
    scale, length = struct.unpack(">II", moov[at + 12 : at + 20])
    return Fraction(length, scale)


def test_times_without_pts_follow_each_other(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", fps=20, **FAST) as writer:
        for index in range(4):
            writer.write(barcode(index))
    assert [frame.pts for frame in read(tmp_path / "a.mp4")] == [Fraction(index, 20) for index in range(4)]


PATCHES = np.array([(200, 60, 60), (60, 200, 60), (60, 60, 200), (180, 180, 60), (128, 128, 128), (250, 250, 250)])


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt470bg", "bt2020nc", "smpte240m"])
def test_colour_is_tagged_and_right_for_others(tmp_path: Path, matrix: str) -> None:
    source = numbered(
        tmp_path / "s.mp4",
        1,
        *X264,
        "-vf",
        f"scale=out_color_matrix={matrix},format=yuv420p,setparams=colorspace={matrix}",
    )
    with VideoReader(source) as reader:
        info = reader.info
    assert info.color.matrix == matrix
    picture = PATCHES.astype(np.uint8).T.repeat(16, 1)[:, None].repeat(64, 1)
    with VideoWriter(tmp_path / "o.mp4", like=info, crf=0, preset="ultrafast") as writer:
        writer.write(picture)
    accurate = "scale=flags=accurate_rnd+full_chroma_int+bicubic,format=rgb24"
    told = ffmpeg("-i", tmp_path / "o.mp4", "-vf", accurate, "-f", "rawvideo", "-")
    theirs = np.frombuffer(told, np.uint8).reshape(64, 96, 3)[32, 8::16].astype(int)
    assert np.abs(theirs - PATCHES).max() <= 2
    with av.open(str(tmp_path / "o.mp4")) as container:
        context = container.streams.video[0].codec_context
        tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
        assert 2 not in tags[:3] and tags[3] == 1
    assert b"colrnclx" in (tmp_path / "o.mp4").read_bytes()


def test_hdr_source_is_written_as_plain_bt709(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "o.mp4", like=None, **FAST) as writer:
        writer.write(barcode(0))
    with VideoReader(tmp_path / "o.mp4") as reader:
        color = reader.info.color.__class__("bt2020nc", "tv", "smpte2084", "bt2020")
        info = reader.info.__class__(**{**vars(reader.info), "color": color})
    with VideoWriter(tmp_path / "h.mp4", like=info, **FAST) as writer:
        writer.write(barcode(0))
    with VideoReader(tmp_path / "h.mp4") as reader:
        assert reader.info.color == reader.info.color.__class__()


def psnr(one: Picture, other: Picture) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(np.float32) - other) ** 2)))


@pytest.mark.parametrize("name", ["tgve_gold-fish.mp4", "flower.mp4", "tgve_red-roses-sunny-day.mp4"])
def test_five_passes_keep_the_picture(tmp_path: Path, shared_data: Path, name: str) -> None:
    start = np.stack([frame.rgb for frame in read(shared_data / "clips" / name, max_frames=3, size=(320, 240))])
    quality, frames = [], start
    for number in range(5):
        path = tmp_path / f"{number}.mp4"
        with VideoWriter(path, **FAST) as writer:
            for rgb in frames:
                writer.write(rgb)
        frames = np.stack([frame.rgb for frame in read(path)])
        quality.append(psnr(start, frames))
    assert quality[0] >= 44 and quality[-1] >= 40, quality
    assert abs(np.mean(frames.astype(np.float32) - start)) <= 0.05
    with VideoWriter(tmp_path / "x.mp4", crf=16) as writer:
        for rgb in start:
            writer.write(rgb)
    assert psnr(start, np.stack([frame.rgb for frame in read(tmp_path / "x.mp4")])) >= 36


def test_odd_sizes_are_padded_not_resampled(tmp_path: Path) -> None:
    picture = barcode(0b101010)[:, :43, :65] // 2 + 40
    ffmpeg(*rgb_input(65, 43), "-c:v", "ffv1", "-pix_fmt", "yuv444p", tmp_path / "odd.mkv", data=raw([picture]))
    with VideoReader(tmp_path / "odd.mkv") as reader:
        rgb = next(iter(reader)).rgb
        with VideoWriter(tmp_path / "o.mp4", like=reader.info, **FAST) as writer:
            writer.write(rgb)
    written = read(tmp_path / "o.mp4")[0].rgb
    assert written.shape == (3, 44, 66)
    assert np.abs(written[:, :43, :65].astype(int) - rgb).max() <= 3
    assert np.abs(written[:, 43].astype(int) - written[:, 42]).max() <= 3


def test_pixel_aspect_and_stored_size_are_kept(tmp_path: Path) -> None:
    source = numbered(tmp_path / "s.mp4", 3, *X264, "-pix_fmt", "yuv420p", "-vf", "setsar=16/15")
    for kind in ("mp4", "mkv"):
        copied(source, tmp_path / f"o.{kind}", **FAST)
        with VideoReader(tmp_path / f"o.{kind}") as reader:
            info = reader.info
        assert (info.coded_width, info.coded_height, info.sar) == (96, 64, Fraction(16, 15))


def test_rotation_is_baked_in(tmp_path: Path) -> None:
    plain = numbered(tmp_path / "p.mp4", 3, *LOSSLESS, "-pix_fmt", "yuv420p")
    ffmpeg("-display_rotation", 90, "-i", plain, "-c", "copy", tmp_path / "r.mp4")
    copied(tmp_path / "r.mp4", tmp_path / "o.mp4", **FAST)
    with VideoReader(tmp_path / "o.mp4") as reader:
        assert (reader.info.coded_width, reader.info.coded_height) == (64, 96)
        assert not reader.info.orientation.transpose


@pytest.mark.parametrize("codec,tag", [("h264", "avc1"), ("hevc", "hvc1"), ("av1", "av01")])
def test_index_comes_first_and_tags_are_what_players_want(tmp_path: Path, codec: str, tag: str) -> None:
    with VideoWriter(tmp_path / "a.mp4", codec=codec, preset="12" if codec == "av1" else "ultrafast") as writer:
        for index in range(3):
            writer.write(barcode(index))
    names = [name for name, _ in boxes(tmp_path / "a.mp4")]
    assert names.index("moov") < names.index("mdat")
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert context.codec_tag == tag
        assert context.pix_fmt == ("yuv420p" if codec == "h264" else "yuv420p10le")


def test_default_is_high_profile(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4") as writer:
        for index in range(3):
            writer.write(barcode(index))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.profile == "High"


def test_same_input_gives_the_same_file(tmp_path: Path) -> None:
    source = tmp_path / "s.mp4"
    numbered(tmp_path / "v.mp4", 30, *X264, "-pix_fmt", "yuv420p")
    ffmpeg("-i", tmp_path / "v.mp4", "-f", "lavfi", "-i", "sine=d=1", "-c:v", "copy", "-c:a", "aac", source)
    sums = set()
    for name in ("a", "b"):
        copied(source, tmp_path / f"{name}.mp4")
        sums.add(hashlib.sha256((tmp_path / f"{name}.mp4").read_bytes()).hexdigest())
    assert len(sums) == 1


@pytest.mark.parametrize(
    "codec,kind", [("prores", "mov"), ("ffv1", "mkv"), ("vp9", "webm"), ("h264", "webm"), ("gif", "gif")]
)
def test_other_encoders(tmp_path: Path, codec: str, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    with VideoWriter(path, codec=codec, fps=10) as writer:
        for index in range(4):
            writer.write(barcode(index))
    frames = read(path)
    assert [number_of(frame.rgb) for frame in frames] == [0, 1, 2, 3]
    assert [frame.pts for frame in frames] == [Fraction(index, 10) for index in range(4)]
    if codec == "ffv1":
        assert (frames[3].rgb == barcode(3)).all()
    if codec == "prores":
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.profile == "HQ"


def test_folder_of_pictures(tmp_path: Path) -> None:
    with VideoWriter(f"{tmp_path}/shots/") as writer:
        for index in range(3):
            writer.write(barcode(index))
    assert [number_of(frame.rgb) for frame in read(tmp_path / "shots")] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError), VideoWriter(tmp_path / "shots") as writer:
        writer.write(barcode(9))
        raise ZeroDivisionError
    assert sorted(path.name for path in tmp_path.rglob("*.png")) == [f"frame_00000{n}.png" for n in (1, 2, 3)]
    assert [path.name for path in tmp_path.iterdir()] == ["shots"]


KEPT = [("vp9", "webm"), ("vp9", "mkv"), ("prores", "mov"), ("ffv1", "mkv"), ("png", "")]


def glass(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture of odd height whose transparency is a ramp that turns."""
    ramp = np.linspace(0, 255, 96).astype(np.uint8)
    return barcode(index)[:, :63], np.broadcast_to(ramp if index % 2 else ramp[::-1], (63, 96))


@pytest.mark.parametrize("codec,kind", KEPT)
def test_transparency_is_kept_where_the_file_can(tmp_path: Path, codec: str, kind: str) -> None:
    path = tmp_path / f"a.{kind}" if kind else tmp_path / "shots"
    with VideoWriter(f"{path}" if kind else f"{path}/", codec=codec, fps=10) as writer:
        for index in range(4):
            picture, alpha = glass(index)
            writer.write(picture, alpha=None if index == 2 else alpha)
    assert writer.notes == []
    frames = read(path)
    assert [number_of(frame.rgb) for frame in frames] == [0, 1, 2, 3]
    for index, frame in enumerate(frames):
        wanted = np.full((63, 96), 255) if index == 2 else glass(index)[1]
        assert frame.alpha is not None
        off = np.abs(frame.alpha[:63].astype(int) - wanted)
        assert off.max() <= (0 if codec in ("ffv1", "png") else 8), off.max()


@pytest.mark.parametrize("codec,kind", [("h264", "mp4"), ("vp9", "mp4")])
def test_lost_transparency_is_said_once(tmp_path: Path, codec: str, kind: str) -> None:
    with VideoWriter(tmp_path / f"a.{kind}", codec=codec) as writer:
        for index in range(3):
            writer.write(glass(index)[0], alpha=glass(index)[1])
    assert len(writer.notes) == 1 and "transparent" in writer.notes[0]
    assert [number_of(frame.rgb) for frame in read(tmp_path / f"a.{kind}")] == [0, 1, 2]


def test_an_opaque_source_needs_no_transparency(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.webm") as writer:
        writer.write(barcode(1), alpha=np.full((64, 96), 255, np.uint8))
    with VideoReader(tmp_path / "a.webm") as reader:
        assert not reader.info.has_alpha and writer.notes == []


def test_missing_hardware_encoder_falls_back(tmp_path: Path) -> None:
    if codecs.working("h264_nvenc") is codecs.CODECS["h264_nvenc"]:
        pytest.skip("this machine has NVENC")
    with VideoWriter(tmp_path / "a.mp4", codec="h264_nvenc") as writer:
        writer.write(barcode(5))
    assert any("no NVIDIA encoder" in note for note in writer.notes)
    assert number_of(read(tmp_path / "a.mp4")[0].rgb) == 5


def test_unknown_codec_and_wrong_container(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='no codec called "h266"; known are h264, hevc'):
        VideoWriter(tmp_path / "a.mp4", codec="h266")
    with pytest.raises(OutputError, match=r"prores does not go into \.mp4; use \.mov or \.mkv"):
        VideoWriter(tmp_path / "a.mp4", codec="prores")


def test_size_is_scaled_on_the_way(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", size=(48, 32)) as writer:
        writer.write(barcode(3))
    assert read(tmp_path / "a.mp4")[0].rgb.shape == (3, 32, 48)


@pytest.mark.parametrize(
    ("name", "codec", "crf", "lossless", "text"),
    [
        ("a.mp4", "hevc", 60, False, "--crf 60: libx265 takes 0 to 51"),
        ("a.mp4", "h264", 52, False, "--crf 52: libx264 takes 0 to 51"),
        ("a.mov", "prores", 5, False, "prores_ks has no such setting; it goes with h264, hevc, av1, vp9"),
        ("a.gif", "h264", 5, False, "gif has no such setting"),
        ("a.mkv", "ffv1", 0, False, "ffv1 has no such setting"),
        ("a.mkv", "h264", 3, True, "--crf 3: --lossless keeps every pixel"),
        ("a.webm", "h264", None, True, "--lossless goes with h264 in .mp4, .mov or .mkv, or with ffv1 in .mkv"),
    ],
)
def test_a_quality_that_an_encoder_does_not_take_is_refused(
    name: str, codec: str, crf: int | None, lossless: bool, text: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(text)):
        codecs.check_quality(name, codec, crf, lossless)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "h264"), ("a.mov", "hevc"), ("a.mp4", "av1"), ("a.webm", "vp9")],
)
def test_the_worst_quality_works_without_a_line_on_stderr(
    name: str, codec: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    worst = codecs.CODECS[codec].worst_crf
    codecs.check_quality(name, codec, worst, False)
    with VideoWriter(tmp_path / name, codec=codec, crf=worst, fps=10) as writer:
        for number in range(3):
            writer.write(barcode(number))
    assert len(read(tmp_path / name)) == 3 and capfd.readouterr().err == ""


def test_settings_that_the_encoder_refuses_are_known_before_the_first_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(codecs.CODECS["h264"], options=lambda crf, preset: {"preset": "of a newer version"})
    monkeypatch.setitem(codecs.CODECS, "h264", broken)
    writer = VideoWriter(tmp_path / "a.mp4")
    with pytest.raises(OutputError, match=r"a\.mp4: the encoder stopped .*; nothing was written"):
        writer.rehearse(64, 48)
    assert not any(tmp_path.iterdir())


def test_a_rehearsal_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"kept")
    VideoWriter(tmp_path / "a.mp4").rehearse(64, 48)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"] and (tmp_path / "a.mp4").read_bytes() == b"kept"


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_shortest_clips_can_be_written(tmp_path: Path, codec: str, kind: str, count: int) -> None:
    for _ in range(4):  # x265 takes times of short clips from memory that it did not set
        with VideoWriter(tmp_path / f"a.{kind}", codec=codec, fps=10, preset="ultrafast") as writer:
            for number in range(count):
                writer.write(barcode(number))
        assert numbers(tmp_path / f"a.{kind}") == list(range(count))
    VideoWriter(tmp_path / f"a.{kind}", codec=codec).rehearse(96, 64)


def test_sound_that_is_refused_does_not_hide_that_the_picture_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(codecs.CODECS["h264"], options=lambda crf, preset: {"preset": "of a newer version"})
    monkeypatch.setitem(codecs.CODECS, "h264", broken)
    source = numbered(tmp_path / "a.mkv", 3, *LOSSLESS)
    with VideoReader(source) as reader, pytest.raises(OutputError, match="the encoder stopped"):
        VideoWriter(tmp_path / "b.mp4", like=reader.info).rehearse(96, 64)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mkv"]
