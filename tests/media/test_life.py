"""Readers and writers end cleanly: no thread left, no hang, no growth, nothing printed."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from eve_cli.errors import InputError, OutputError
from eve_cli.media.decode import VideoReader
from eve_cli.media.encode import VideoWriter
from eve_cli.media.threads import DEPTH, BackgroundWorker, read_ahead
from tests.media.make import X264, numbered, read

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numbered(tmp_path_factory.mktemp("life") / "c.mp4", 60, *X264, "-pix_fmt", "yuv420p")


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("eve-")]


def test_early_break_leaves_no_thread(clip: Path) -> None:
    begun = time.monotonic()
    with VideoReader(clip) as reader:
        for _ in reader:
            break
    assert not ours() and time.monotonic() - begun < 1


def test_garbage_leaves_no_thread(clip: Path) -> None:
    frames = iter(VideoReader(clip))
    next(frames)
    assert ours()
    del frames
    gc.collect()
    assert not ours()


def test_exception_in_the_loop_leaves_no_thread(clip: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        VideoReader(clip) as reader,
        VideoWriter(tmp_path / "o.mp4", like=reader.info) as writer,
    ):
        for frame in reader:
            writer.write(frame.rgb, frame.pts, frame.duration)
            if frame.index == 5:
                raise ZeroDivisionError
    assert not ours() and not list(tmp_path.iterdir())


def test_errors_of_the_reading_thread_are_raised_here(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eve_cli.media import color

    monkeypatch.setattr(color, "planes", lambda frame: 1 / 0)
    with pytest.raises(ZeroDivisionError), VideoReader(clip) as reader:
        list(reader)
    assert not ours()


def test_a_process_that_leaves_early_ends(clip: Path) -> None:
    program = f"from eve_cli.media.decode import VideoReader\nfor f in VideoReader({str(clip)!r}): break\nprint('done')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, cwd=ROOT)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


def test_reading_ahead_is_bounded() -> None:
    made: list[int] = []

    def source() -> object:
        for number in range(100):
            made.append(number)
            yield number

    for number in read_ahead(source()):  # type: ignore[arg-type]
        time.sleep(0.002)
        assert len(made) <= number + DEPTH + 3
        if number == 20:
            break


def test_a_slow_writer_holds_the_caller_back() -> None:
    done: list[int] = []
    behind: BackgroundWorker[int] = BackgroundWorker(lambda item: (time.sleep(0.005), done.append(item))[0])
    for number in range(20):
        behind.put(number)
        assert number - len(done) <= DEPTH + 2
    behind.close()
    assert done == list(range(20))


GROWTH = """
import resource, sys
import numpy as np
from eve_cli.media.decode import VideoReader
from eve_cli.media.encode import VideoWriter
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
with VideoReader(sys.argv[1]) as reader, VideoWriter(sys.argv[2], like=reader.info, preset="ultrafast") as writer:
    for frame in reader:
        writer.write(frame.rgb, frame.pts, frame.duration)
        if frame.index == 100:
            early = rss()
print(rss() - early)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to measure memory")
def test_memory_does_not_grow(tmp_path: Path) -> None:
    clip = numbered(tmp_path / "long.mp4", 1000, *X264, "-pix_fmt", "yuv420p", "-g", "50")
    arguments = [sys.executable, "-c", GROWTH, str(clip), str(tmp_path / "out.mp4")]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == "" and float(done.stdout) < 20, done.stdout + done.stderr


IDLE = """
import resource, sys
import av, av.filter, numpy as np
from eve_cli.media.decode import VideoReader
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
idle, most = rss(), 0.0
with VideoReader(sys.argv[1]) as reader:
    for frame in reader:
        most = max(most, rss())
print(most - idle)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to measure memory")
def test_reading_takes_little_more_than_the_frames_in_flight(tmp_path: Path) -> None:
    width, height = 1280, 720
    scaled = ("-vf", f"scale={width}:{height}:flags=neighbor", "-pix_fmt", "yuv420p")
    clip = numbered(tmp_path / "large.mp4", 40, *X264, *scaled)
    done = subprocess.run([sys.executable, "-c", IDLE, str(clip)], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == "" and float(done.stdout) < 64 + 12 * width * height * 3 / 1e6, done.stdout + done.stderr


@pytest.mark.parametrize("codec,kind", [("h264", "mp4"), ("hevc", "mp4"), ("av1", "mkv"), ("vp9", "webm")])
def test_encoders_are_quiet(tmp_path: Path, codec: str, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    with VideoWriter(tmp_path / f"q.{kind}", codec=codec, preset="ultrafast" if codec != "av1" else "12") as writer:
        for _ in range(3):
            writer.write(np.full((3, 64, 96), 90, np.uint8))
    assert capfd.readouterr() == ("", "")
    assert len(read(tmp_path / f"q.{kind}")) == 3


def test_closing_twice_and_writing_after(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4")
    writer.write(np.zeros((3, 64, 96), np.uint8), Fraction(0), Fraction(1, 25))
    writer.close()
    writer.close()
    writer.abort()
    assert (tmp_path / "a.mp4").exists()
    with pytest.raises(OutputError, match="no frame was written"):
        VideoWriter(tmp_path / "b.mp4").close()
    with pytest.raises(InputError):
        VideoReader(tmp_path / "c.mp4")


def test_media_modules_do_not_import_pyav_by_themselves() -> None:
    program = "import sys, eve_cli.media.encode, eve_cli.media.decode, eve_cli.media.cuts; print('av' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "False\n"
