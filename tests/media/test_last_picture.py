"""The last picture is shown as long as the source says, whatever the types of source and result."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eve_cli.errors import InputError
from eve_cli.media.clip import Picture
from eve_cli.media.decode import VideoReader
from eve_cli.media.encode import VideoWriter
from tests.media.make import ffmpeg, read

HOLD = [100] * 9 + [3000]
PICTURES = [Image.fromarray(np.full((64, 96, 3), 25 * number, np.uint8)) for number in range(10)]


def animation(folder: Path, kind: str, durations: list[int]) -> Path:
    """Ten pictures shown for so many milliseconds each."""
    path = folder / f"in.{kind}"
    pillow = path if kind in ("gif", "webp") else folder / "in.gif"
    PICTURES[0].save(pillow, save_all=True, append_images=PICTURES[1:], duration=durations, loop=0)
    if path != pillow:
        ffmpeg("-i", pillow, "-c:v", "ffv1", "-fps_mode", "passthrough", path)
    return path


@pytest.mark.parametrize("source", ["gif", "webp", "mkv"])
@pytest.mark.parametrize("result", ["mp4", "mov", "mkv", "webm", "gif"])
@pytest.mark.parametrize("durations", [HOLD, [50, 150] * 4 + [200, 3000]], ids=["constant", "uneven"])
def test_it_is_held(tmp_path: Path, source: str, result: str, durations: list[int]) -> None:
    path = animation(tmp_path, source, durations)
    with VideoReader(path) as reader, VideoWriter(tmp_path / f"o.{result}", like=reader.info, crf=30) as writer:
        for frame in reader:
            writer.write(frame.rgb, frame.pts, frame.duration)
    frames = read(tmp_path / f"o.{result}")
    tick = Fraction(1, 50 if result == "gif" else 500)
    assert abs(frames[-1].duration - 3) <= tick
    assert abs(frames[-1].pts + frames[-1].duration - Fraction(sum(durations), 1000)) <= tick


def test_a_last_picture_of_a_normal_clip_has_the_length_of_the_others(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=96x64:r=30000/1001:d=1", "-c:v", "mpeg4", tmp_path / "a.avi")
    assert {frame.duration for frame in read(tmp_path / "a.avi")} == {Fraction(1001, 30000)}


@pytest.mark.parametrize(
    "codec,kind", [("hevc", "mp4"), ("av1", "mp4"), ("av1", "mkv"), ("av1", "webm"), ("ffv1", "mkv")]
)
def test_it_is_held_by_every_encoder(tmp_path: Path, codec: str, kind: str) -> None:
    path = animation(tmp_path, "gif", HOLD)
    with VideoReader(path) as reader, VideoWriter(tmp_path / f"o.{kind}", like=reader.info, codec=codec) as writer:
        for frame in reader:
            writer.write(frame.rgb, frame.pts, frame.duration)
    assert abs(read(tmp_path / f"o.{kind}")[-1].duration - 3) <= Fraction(1, 500)


def test_an_animated_png_is_held_too(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    PICTURES[0].save(path, save_all=True, append_images=PICTURES[1:], duration=HOLD)
    assert [frame.duration for frame in read(path)] == [Fraction(1, 10)] * 9 + [3]


@pytest.mark.parametrize("kind", ["gif", "webp", "mkv"])
def test_a_cut_shortens_the_hold(tmp_path: Path, kind: str) -> None:
    path = animation(tmp_path, kind, HOLD)
    frames = read(path, end=2)
    assert len(frames) == 10 and frames[-1].duration == Fraction(11, 10)
    (last,) = read(path, start=1.5, end=2)  # the picture on screen at that time
    assert last.pts == Fraction(3, 2) and last.duration == Fraction(1, 2)
    assert number(last.rgb) == 9
    with pytest.raises(InputError, match="is past the end"):
        read(path, start=4)


def number(rgb: Picture) -> int:
    return round(float(rgb.mean()) / 25)
