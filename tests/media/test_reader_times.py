"""Every shown frame once, in order, at its exact time, from any start."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from eve_cli.media.decode import VideoReader
from tests.media.make import LOSSLESS, X264, barcode, ffmpeg, number_of, numbered, numbered_vfr, numbers, read

OPEN_GOP = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=24:open-gop=1:bframes=3")
FILES: dict[str, tuple[str, tuple[str, ...], int]] = {
    "h264": ("a.mp4", (*X264, "-bf", "2", "-g", "30"), 120),
    "h264 in mkv": ("a.mkv", (*X264, "-bf", "2", "-g", "30"), 120),
    "hevc, open gop": ("b.mp4", OPEN_GOP, 90),
    "vp9": ("c.webm", ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25"), 60),
    "av1": ("d.mp4", ("-c:v", "libsvtav1", "-preset", "12", "-g", "20", "-svtav1-params", "lp=1"), 40),
    "mpeg-ts": ("e.ts", (*X264, "-bf", "2", "-g", "30"), 120),
    "mpeg-ps": ("f.mpg", ("-c:v", "mpeg2video", "-q:v", "2", "-bf", "2", "-g", "15"), 120),
    "mjpeg": ("g.avi", ("-c:v", "mjpeg", "-q:v", "3"), 60),
}


@pytest.fixture(scope="module", params=FILES, ids=list(FILES))
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    name, arguments, count = FILES[request.param]
    return numbered(tmp_path_factory.mktemp("clips") / name, count, "-pix_fmt", "yuv420p", *arguments), count


def test_every_frame_once(clip: tuple[Path, int]) -> None:
    path, count = clip
    frames = read(path)
    assert [number_of(frame.rgb) for frame in frames] == list(range(count))
    assert [frame.index for frame in frames] == list(range(count))
    first = frames[0].pts
    assert [frame.pts - first for frame in frames] == [Fraction(index, 30) for index in range(count)]


def test_exact_start_and_end(clip: tuple[Path, int]) -> None:
    """Twenty cuts of each file: the first frame is the first at or after the start, the last is before the end."""
    path, count = clip
    first = read(path, max_frames=1)[0].pts
    chooser = random.Random(0)
    for _ in range(20):
        start, length = chooser.randrange(count - 4), chooser.randrange(1, 4)
        end = first + Fraction(start + length, 30)
        assert numbers(path, start=first + Fraction(start, 30), end=end) == list(range(start, start + length))


def test_start_between_frames_takes_the_next_one(clip: tuple[Path, int]) -> None:
    path, _ = clip
    first = read(path, max_frames=1)[0].pts
    assert numbers(path, start=first + Fraction(7, 60), max_frames=2) == [4, 5]


def test_edit_list(tmp_path: Path) -> None:
    whole = numbered(tmp_path / "whole.mp4", 120, *X264, "-pix_fmt", "yuv420p", "-g", "60")
    ffmpeg("-ss", 1.5, "-i", whole, "-c", "copy", tmp_path / "cut.mp4")
    with VideoReader(tmp_path / "cut.mp4") as reader:
        frames = list(reader)
        assert [number_of(frame.rgb) for frame in frames] == list(range(45, 120))
        assert frames[0].pts == reader.info.start == 0


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts"])
def test_picture_and_sound_share_one_zero(tmp_path: Path, kind: str) -> None:
    picture = numbered(tmp_path / "v.mp4", 10, *X264, "-pix_fmt", "yuv420p")
    path = tmp_path / f"late.{kind}"
    sound = ("-itsoffset", 0.25, "-f", "lavfi", "-i", "sine=d=1:r=48000")
    ffmpeg("-itsoffset", 0.5, "-i", picture, *sound, "-c:v", "copy", "-c:a", "mp2", path)
    with VideoReader(path) as reader, av.open(str(path)) as container:
        sound_start = min(p.pts * p.time_base for p in container.demux(audio=0) if p.pts is not None)
        assert next(iter(reader)).pts == reader.info.start
        encoder_delay = Fraction(481, 48000)
        apart = reader.info.start - (sound_start - reader.info.origin)
        assert abs(apart - Fraction(1, 4) - encoder_delay) < Fraction(2, 1000)


@pytest.mark.parametrize("kind", ["mp4", "mov"])
def test_uneven_times_are_untouched(tmp_path: Path, kind: str) -> None:
    steps = np.random.default_rng(1).integers(900, 9000, 40)
    ticks = [0, *np.cumsum(steps).tolist()]
    path = numbered_vfr(tmp_path / f"v.{kind}", ticks, Fraction(1, 90000))
    with VideoReader(path) as reader:
        frames = list(reader)
        assert reader.info.is_vfr
    assert [frame.pts for frame in frames] == [Fraction(tick, 90000) for tick in ticks]
    assert [frame.duration for frame in frames[:-1]] == [Fraction(int(step), 90000) for step in steps]


@pytest.mark.parametrize("rate", ["24000/1001", "60000/1001", "25", "12.5"])
def test_rounded_times_of_constant_rate_are_made_exact(tmp_path: Path, rate: str) -> None:
    path = numbered(tmp_path / "r.mkv", 30, *X264, "-pix_fmt", "yuv420p", rate=rate)
    with VideoReader(path) as reader:
        frames = list(reader)
        assert reader.info.fps == Fraction(rate) and not reader.info.is_vfr
    assert [frame.pts for frame in frames] == [index / Fraction(rate) for index in range(30)]


def test_raw_stream_without_times(tmp_path: Path) -> None:
    path = numbered(tmp_path / "raw.h264", 20, *X264, "-pix_fmt", "yuv420p")
    with VideoReader(path) as reader:
        frames = list(reader)
        assert any("has no times" in note for note in reader.report.warnings)
    assert [number_of(frame.rgb) for frame in frames] == list(range(20))
    assert [frame.pts for frame in frames] == [Fraction(index, 30) for index in range(20)]


@pytest.mark.parametrize("fps", [5, 24, 75])
def test_sampling_takes_the_frame_on_screen(tmp_path: Path, fps: int) -> None:
    ticks = [0, *np.cumsum(np.random.default_rng(2).integers(10, 200, 30)).tolist()]
    path = numbered_vfr(tmp_path / "v.mp4", ticks, Fraction(1, 1000))
    times = [Fraction(tick, 1000) for tick in ticks]
    for frame in read(path, fps=fps):
        shown = max(index for index, time in enumerate(times) if time <= frame.pts)
        assert (number_of(frame.rgb), frame.source) == (shown, shown)
        assert frame.pts == Fraction(frame.index, fps)


def test_max_frames_and_second_pass(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.mp4", 12, *LOSSLESS, "-pix_fmt", "yuv420p")
    with VideoReader(path, max_frames=5) as reader:
        assert [len(list(reader)), len(list(reader))] == [5, 5]
        assert reader.report.decoded >= 5
    assert number_of(barcode(1234)) == 1234


def test_a_short_clip_whose_sound_begins_late_starts_with_its_first_picture(tmp_path: Path) -> None:
    picture = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=10:d=0.5")
    late = ("-itsoffset", 0.4, "-f", "lavfi", "-i", "sine=d=0.5:r=48000")  # FFmpeg has both streams start at 0.4 s
    ffmpeg(*picture, *late, *X264, "-pix_fmt", "yuv420p", "-c:a", "ac3", tmp_path / "a.mkv")
    frames = read(tmp_path / "a.mkv", end=0.3)
    assert [frame.pts for frame in frames] == [0, Fraction(1, 10), Fraction(1, 5)]


@pytest.mark.parametrize("label", [1000, 240, 30])
def test_uneven_times_have_the_rate_that_fits_best(tmp_path: Path, label: int) -> None:
    steps = np.random.default_rng(1).integers(25, 45, 60)  # ms, as of a phone
    with av.open(str(tmp_path / "a.mkv"), "w") as output:
        stream = output.add_stream("libx264", rate=label)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time in np.cumsum(steps).tolist():
            frame = av.VideoFrame(96, 64, "yuv420p")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with VideoReader(tmp_path / "a.mkv") as reader:
        assert reader.info.is_vfr and reader.info.fps == 30
