"""`eve batch` in several processes and in shards: the same results as in one process, whatever ends a worker."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from eve_cli.cli.app import run
from tests.clips import make_clip, pictures

SETTINGS = ["--steps", "1", "--window", "4", "--codec", "h264"]
ROWS = 3


@pytest.fixture
def folder(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with clips, a missing one in the manifest, and the tiny model."""
    monkeypatch.setenv("EVE_WEIGHTS", str(weights))
    monkeypatch.setenv("EVE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("EVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    for number in range(ROWS):
        make_clip(tmp_path / f"{number}.mkv", pictures(5, seed=number))
    names = [*(f"{number}.mkv" for number in range(ROWS)), "gone.mkv"]
    Path("m.csv").write_text("input,instruction\n" + "".join(f"{name},night\n" for name in names))
    return tmp_path


def files(out: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(out).glob("*.mp4")}


def lines(out: str) -> list[dict[str, Any]]:
    """What is reported of the rows, but for what differs by folder and time."""
    values = [json.loads(line) for line in Path(out, "results.jsonl").read_text().splitlines()]
    values = [value | {name: None for name in ("key", "output", "run", "seconds")} for value in values]
    return sorted(values, key=lambda value: value["row"])


@pytest.mark.slow
def test_workers_and_shards_write_the_bytes_and_lines_of_one_process(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["batch", "m.csv", "-o", "one", *SETTINGS]) == 6
    assert run(["batch", "m.csv", "-o", "two", "--workers", "2", *SETTINGS]) == 6
    capfd.readouterr()
    for index in (1, 2):
        run(["batch", "m.csv", "-o", "shards", "--shard", f"{index}/2", *SETTINGS])
    assert run(["batch-merge", "shards"]) == 6
    assert capfd.readouterr().out.splitlines()[-1] == "shards/results.jsonl"
    assert len(files("one")) == ROWS and files("one") == files("two") == files("shards")
    assert lines("one") == lines("two") == lines("shards")
    assert [line["status"] for line in lines("one")] == ["done"] * ROWS + ["failed"]


@pytest.mark.slow
def test_a_worker_that_is_killed_and_a_batch_that_is_stopped_lose_no_row(folder: Path) -> None:
    words = [sys.executable, "-m", "eve_cli", "batch", "m.csv", "-o", "out", "--workers", "2", *SETTINGS]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # background jobs ignore it
    ) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        workers = children(process.pid)
        os.kill(workers[0], signal.SIGSEGV)
        os.kill(process.pid, signal.SIGINT)
        timer = threading.Timer(60, process.kill)
        timer.start()
        process.communicate()
        timer.cancel()
    assert first["status"] in ("done", "failed") and process.returncode == 130
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not list(Path("out").glob(".*.part*"))
    assert run(["batch", "m.csv", "-o", "out", *SETTINGS]) == 6
    assert len(files("out")) == ROWS and [line["status"] for line in lines("out")][-1] == "failed"


def children(process: int) -> list[int]:
    """The workers of a process."""
    listing = subprocess.run(["pgrep", "-P", str(process), "-f", "spawn_main"], capture_output=True, text=True)
    return [int(line) for line in listing.stdout.split()]


def test_a_row_is_done_again_where_its_input_was_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("m.csv").write_text("input,instruction\n0.mkv,night\n1.mkv,night\n")
    words = ["batch", "m.csv", "-o", "out", *SETTINGS]
    assert run(words) == 0
    os.utime("1.mkv")
    os.replace("2.mkv", "0.mkv")
    capsys.readouterr()
    assert run(words) == 0
    assert [json.loads(line)["status"] for line in capsys.readouterr().out.splitlines()] == ["done", "before"]
