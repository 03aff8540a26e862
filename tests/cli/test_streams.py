"""Standard streams: every name is printed, a full or closed stream loses no result, a dumb terminal gets plain text."""

import io
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eve_cli.cli import console
from eve_cli.cli.app import reported, run
from eve_cli.errors import OutputError
from tests.clips import make_clip

REPOSITORY = Path(__file__).resolve().parents[2]
BYTES = os.fsdecode(b"caf\xe9")
"""A name in Latin-1."""


@pytest.fixture
def desk(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVE_WEIGHTS", str(weights))
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.mkv", 3)
    return tmp_path


def environment(**own: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPOSITORY)} | own


@pytest.mark.parametrize(
    ("encoding", "name", "printed"),
    [
        ("utf-8", "ü.mp4", "ü.mp4".encode()),
        ("utf-8", BYTES, b"caf\xe9"),
        ("ascii", "ü.mp4", rb"\xfc.mp4"),
        ("latin-1", "漢.mp4", rb"\u6f22.mp4"),
        ("latin-1", "ü.mp4", b"\xfc.mp4"),
    ],
)
def test_a_pipe_gets_every_name(encoding: str, name: str, printed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding=encoding))
    console.prepare_streams()
    console.result(name)
    assert content.getvalue() == printed + b"\n"


def test_a_message_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("in", f"a\x1b[2Jb\r\t{BYTES} ü\u202f")
    assert capsys.readouterr().err == "in    a\\x1b[2Jb\\r\\tcaf\\udce9 ü\u202f\n"


def test_a_full_stdout_is_an_error_that_names_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OutputError, match=r"stdout: cannot write \(no space left on device\): out\.mp4"):
        console.result("out.mp4")


def test_help_into_a_full_stdout_is_one_sentence() -> None:
    words = [sys.executable, "-m", "eve_cli", "--help"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), check=False)
    assert done.stderr == "error stdout: no space left on device.\n" and done.returncode == 2


@pytest.mark.slow
def test_an_edit_with_closed_streams_writes_its_result(desk: Path) -> None:
    shell = f"exec {sys.executable} -m eve_cli edit clip.mkv x --method copy --steps 1 -o out.mp4 <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", shell], env=environment(), check=False).returncode == 0
    assert (desk / "out.mp4").stat().st_size > 1000


def test_an_error_of_the_system_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with reported() as status:
        Path("a" * 300).stat()
    assert status.code == 2
    assert capsys.readouterr().err == f"error {'a' * 300}: file name too long.\n"


def test_what_is_said_to_be_typed_can_be_pasted(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["edit", "clip.mkv", "x", "--method", "copy", "--steps", "1", "-o", "a b.mp4"]) == 0
    assert capsys.readouterr().err.endswith("repeat: eve rerun 'a b.run.json'\n")


STOPPED = """
import os, sys
from eve_cli.editing import pipeline
from eve_cli.cli.app import main
render = pipeline.render
def stop(*words):
    def progress(stage, done, total):
        os.kill(os.getpid(), int(sys.argv[1]))
    return render(*words[:-1], progress)
pipeline.render = stop
main(["edit", "clip.mkv", "x", "--method", "copy", "--steps", "1", "-o", "a b.mp4", "-q"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_leaves_finished_windows_and_a_word_about_them(number: int, desk: Path) -> None:
    words = [sys.executable, "-c", STOPPED, str(number)]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # under nohup it would be ignored
    )
    assert done.returncode == 128 + number and "eve resume 'a b.eve-run'" in done.stderr
    assert sorted(each.name for each in desk.iterdir()) == ["a b.eve-run", "clip.mkv"]
    assert not (desk / "a b.eve-run" / "lock.json").exists()


@pytest.mark.slow
def test_a_dumb_terminal_gets_no_control_characters(desk: Path) -> None:
    """A batch whose row has a note, in a terminal that cannot redraw."""
    ours, theirs = pty.openpty()
    words = ["batch", ".", "make it sparkling", "--steps", "1", "--method", "copy", "--codec", "h264_nvenc"]
    process = subprocess.Popen(
        [sys.executable, "-m", "eve_cli", *words],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="dumb"),
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux says so at the end
            break
        text += part
    os.close(ours)
    assert process.wait() == 0
    assert b"note" in text and b'"status": "done"' in text
    assert not any(byte < 32 and byte not in b"\r\n" for byte in text) and text.count(b"\r") == text.count(b"\r\n")
