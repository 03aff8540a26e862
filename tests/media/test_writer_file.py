"""The file appears complete or not at all, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from eve_cli.errors import OutputError
from eve_cli.media.decode import VideoReader
from eve_cli.media.encode import VideoWriter
from eve_cli.storage.atomic import hidden_folder
from tests.media.make import X264, barcode, numbered, numbers

ROOT = Path(__file__).parents[2]
ENDLESS = """
import signal, sys, time
import numpy as np
from eve_cli.media.encode import VideoWriter
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to it
with VideoWriter(sys.argv[1], preset="ultrafast", crf=0) as writer:
    for number in range(100000):
        writer.write(np.random.randint(0, 256, (3, 64, 96), dtype=np.uint8))
        if number == 30:
            print("writing", flush=True)
        time.sleep(0.002 if number > 30 else 0)
"""
FILLED = """
import resource, sys
import numpy as np
from eve_cli.errors import OutputError
from eve_cli.media.encode import VideoWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    with VideoWriter(sys.argv[1], preset="ultrafast", crf=0) as writer:
        for number in range(100):
            writer.write(np.random.randint(0, 256, (3, 64, 96), dtype=np.uint8))
except OutputError as error:
    print(error)
"""


@pytest.fixture(params=[False, True], ids=["new", "existing"])
def target(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, list[str]]:
    path = tmp_path / "out.mp4"
    if request.param:
        path.write_bytes(b"the old one")
    return path, [path.name] if request.param else []


def untouched(target: tuple[Path, list[str]]) -> bool:
    path, before = target
    return os.listdir(path.parent) == before and (not before or path.read_bytes() == b"the old one")


def test_exception(target: tuple[Path, list[str]]) -> None:
    with pytest.raises(ZeroDivisionError), VideoWriter(target[0]) as writer:
        for index in range(10):
            writer.write(barcode(index))
        raise ZeroDivisionError
    assert untouched(target)


def test_nothing_is_made_before_the_first_frame(target: tuple[Path, list[str]]) -> None:
    writer = VideoWriter(target[0])
    assert untouched(target)
    writer.abort()
    assert untouched(target)


@pytest.mark.parametrize("target", [True], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals(target: tuple[Path, list[str]], number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(target[0])], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"writing\n"
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode != 0 and untouched(target)


@pytest.mark.parametrize("target", [True], indirect=True)
def test_full_disk(target: tuple[Path, list[str]]) -> None:
    program = [sys.executable, "-c", FILLED, str(target[0])]
    done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.startswith(f"{target[0]}: disk full after 0 MB") and "nothing was written" in done.stdout
    assert done.stderr == "" and untouched(target)


def test_what_dead_runs_left_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    part = hidden_folder(tmp_path / "out.mp4")  # with a name of this process
    own = f".{os.getpid()}."
    stale, running = (part.with_name(part.name.replace(own, f".{pid}.")) for pid in (dead.pid, os.getppid()))
    stale.touch()
    part.rename(running)
    with VideoWriter(tmp_path / "out.mp4") as writer:
        writer.write(barcode(0))
    assert sorted(os.listdir(tmp_path)) == sorted([running.name, "out.mp4"])


@pytest.mark.parametrize("linked", [False, True])
def test_output_may_be_the_input(tmp_path: Path, linked: bool) -> None:
    source = numbered(tmp_path / "a.mp4", 20, *X264, "-pix_fmt", "yuv420p")
    target = tmp_path / "link.mp4" if linked else source
    if linked:
        target.symlink_to(source)
    before = source.read_bytes()
    with VideoReader(source) as reader, VideoWriter(target, like=reader.info) as writer:
        for frame in reader:
            writer.write(255 - frame.rgb, frame.pts, frame.duration)
            assert source.read_bytes() == before
    assert numbers(source) == [4095 - number for number in range(20)]
    assert linked == target.is_symlink()


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with VideoWriter(tmp_path / "a.mp4") as writer:
            writer.write(barcode(0))
    finally:
        os.umask(old)
    assert (tmp_path / "a.mp4").stat().st_mode & 0o777 == 0o640


def test_existing_file_is_kept_when_asked(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(OutputError, match="exists already"):
        VideoWriter(tmp_path / "a.mp4", overwrite=False)


def test_failure_in_the_encoder_is_told_in_words(tmp_path: Path) -> None:
    wrong = VideoWriter(tmp_path / "a.mp4", preset="no-such-preset")
    with pytest.raises(OutputError, match=r"the encoder stopped .*; nothing was written"), wrong as writer:
        for _ in range(10):
            writer.write(np.zeros((3, 64, 96), np.uint8))
            time.sleep(0.01)
    assert not list(tmp_path.iterdir())
