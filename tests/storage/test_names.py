"""Names of files: their limits are bytes, what is a nicety may fail, and one process at a time works in a folder."""

import errno
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import ones

from eve_cli.errors import OutputError, UsageError
from eve_cli.storage import atomic, jsonl, paths
from eve_cli.storage.hashing import content_sha256
from eve_cli.storage.headers import utf8_name
from eve_cli.storage.lock import Lock

REPOSITORY = Path(__file__).resolve().parents[2]
BYTES = os.fsdecode(b"caf\xe9")
"""A name in Latin-1."""


def test_a_file_may_have_the_longest_name(tmp_path: Path) -> None:
    for name in ("漢" * 85, "a" * 251 + ".mp4", "a." + "b" * 253):
        atomic.write_text(tmp_path / name, "x")
        with atomic.atomic_folder(tmp_path / ("é" + name[2 if name.isascii() else 1 :])) as part:
            (part / "y").touch()
    assert len(os.listdir(tmp_path)) == 6
    with pytest.raises(OutputError, match="file name too long"):
        atomic.write_text(tmp_path / ("漢" * 86), "x")
    with pytest.raises(OutputError, match="null character"):
        atomic.write_text(tmp_path / "a\0b", "x")


@pytest.mark.parametrize(
    ("name", "problem"),
    [("漢" * 85, None), ("漢" * 86, "file name too long"), ("a/" * 300, None), ("a\0", "null"), (BYTES, None)],
)
def test_what_is_wrong_with_a_name(name: str, problem: str | None) -> None:
    reason = paths.name_problem(name)
    assert reason is None if problem is None else problem in (reason or "")


def test_names_are_cut_between_letters() -> None:
    assert paths.shortened("漢字ab", 7) == "漢字a" and paths.shortened("漢字", 5) == "漢"
    assert paths.shortened(f"{BYTES}!", 80) == "caf!"


def test_only_home_folders_of_known_users_are_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert paths.expanded("~/b.mp4") == Path("/home/me/b.mp4")
    assert [str(paths.expanded(name)) for name in ("~b.mp4", "~nobody-here/c", "a~")] == [
        "~b.mp4",
        "~nobody-here/c",
        "a~",
    ]


@pytest.mark.parametrize(
    "name", ["a b.json", "it's", "-x.json", "a\nb", BYTES, "ü.mp4", "$(rm x)", "a\u202fb \U0001f44d\u200d.mp4"]
)
def test_a_shell_reads_a_word_as_the_path(name: str) -> None:
    word = paths.shell_word(name)
    done = subprocess.run(
        ["bash", "-c", f"printf %s {word}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert os.fsdecode(done.stdout).removeprefix("./") == name and "\n" not in word and word.encode()
    assert not shlex.split(word)[0].startswith("-")


@pytest.mark.parametrize("call", ["chmod", "fsync"])
def test_what_a_file_system_cannot_do_is_left_out(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, call, refused)
    atomic.write_text(tmp_path / "a.txt", "x")
    with atomic.atomic_folder(tmp_path / "f") as part:
        (part / "y").touch()
    assert (tmp_path / "a.txt").read_text() == "x" and os.listdir(tmp_path / "f") == ["y"]


def test_no_file_takes_the_place_of_a_pipe_or_a_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.mp4")
    with pytest.raises(OutputError, match=r"p\.mp4: is a named pipe"):
        atomic.write_text(tmp_path / "p.mp4", "x")
    with pytest.raises(OutputError, match="null: is a device"):
        atomic.write_text(Path("/dev/null"), "x")


def test_hidden_files_of_dead_processes_are_removed_and_those_of_other_hosts_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    number = int(dead.stdout)

    def left(host: str) -> Path:
        with monkeypatch.context() as patch:
            patch.setattr(platform, "node", lambda: host)
            patch.setattr(os, "getpid", lambda: number)
            return atomic.AtomicFile(str(tmp_path / "a.mp4")).path

    other, own = left("elsewhere"), left(platform.node())
    atomic.write_text(tmp_path / "a.mp4", "x")
    assert other.exists() and not own.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_removes_the_hidden_file(number: int, tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from eve_cli.storage.atomic import atomic_file
with atomic_file(Path({str(tmp_path / "a.txt")!r})) as part:
    os.kill(os.getpid(), {number})
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        check=False,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # under nohup it would be ignored
    )
    assert done.returncode == 128 + number and not os.listdir(tmp_path)


def test_an_ignored_signal_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in atomic.on_termination(lambda number, frame: None)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_names_that_are_no_utf8_are_escaped_in_files_and_read_back(tmp_path: Path) -> None:
    folder = tmp_path / BYTES
    folder.mkdir()
    (folder / BYTES).write_bytes(b"1")
    assert len(content_sha256(folder)) == 64
    jsonl.append(tmp_path / "a.jsonl", {"input": BYTES, "ü": 1})
    jsonl.write(tmp_path / "b.jsonl", [{"input": BYTES, "ü": 1}])
    for name in ("a.jsonl", "b.jsonl"):
        assert "caf\\udce9" in (tmp_path / name).read_text(encoding="utf-8")
        assert list(jsonl.read_log(tmp_path / name)) == [{"input": BYTES, "ü": 1}]
    with utf8_name(folder) as plain:
        save_file({"a": ones(2)}, plain / "x.safetensors")
        assert os.listdir(plain) and str(plain).encode()
    assert (folder / "x.safetensors").is_file()


LOCKED = """
import sys
from pathlib import Path
from eve_cli.storage.lock import Lock
with Lock(Path(sys.argv[1]), "run"):
    print("taken", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    words = [sys.executable, "-c", LOCKED, str(path)]
    first = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    assert first.stdout is not None and first.stdin is not None and first.stdout.readline() == b"taken\n"
    owner = json.loads(path.read_text())
    assert owner.keys() == {"pid", "host", "since"} and owner["pid"] == first.pid
    with pytest.raises(UsageError) as refused, Lock(path, "run"):
        pass
    assert f"run: in use by process {first.pid} on {owner['host']} since {owner['since']};" in str(refused.value)
    assert json.loads(path.read_text()) == owner
    first.kill()
    first.wait()
    first.stdout.close()
    first.stdin.close()
    with Lock(path, "run"):
        assert json.loads(path.read_text())["pid"] == os.getpid(), "what a killed process leaves is taken over"
    assert not path.exists()


def test_a_lock_of_another_host_is_respected(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    path.write_text(json.dumps({"pid": 1, "host": "elsewhere", "since": "yesterday"}))
    with pytest.raises(UsageError, match=f"process 1 on elsewhere since yesterday; wait for it, or delete {path}"):
        Lock(path, "run").acquire()
    path.unlink()
    Lock(path, "run").acquire()


def test_without_locks_of_the_file_system_a_living_process_is_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eve_cli.storage.lock._flock", lambda file: None)
    first, second = Lock(tmp_path / "l", "run"), Lock(tmp_path / "l", "run")
    first.acquire()
    with pytest.raises(UsageError, match="in use by process"):
        second.acquire()
    first.release()
    with second:
        second.path.unlink()
        with Lock(tmp_path / "l", "run") as other:
            second.release()
            assert other.path.exists(), "only the own file is removed"
