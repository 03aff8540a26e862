"""Progress and tables: rich on a terminal, plain lines elsewhere."""

import io
import sys

import pytest

from eve_cli.cli import console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, term: str) -> str:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stderr", stream)
    bar = console.Progress("edit", 20, "windows")
    for done in range(21):
        bar.update(done, "[b]noted[/b]")
    console.say("note", "above the bar")
    bar.close()
    assert console.Progress.active is None and sys.stderr is stream
    return stream.getvalue()


def test_a_terminal_gets_a_bar_that_is_removed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(monkeypatch, Terminal(), "xterm")
    assert "20/20 windows · [b]noted[/b]" in text and "above the bar\n" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1, "the cursor is hidden once and shown again"


@pytest.mark.parametrize(("stream", "term"), [(io.StringIO(), "xterm"), (Terminal(), "dumb")], ids=["file", "dumb"])
def test_other_output_is_a_plain_line_for_every_tenth(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, term: str
) -> None:
    lines = drawn(monkeypatch, stream, term).splitlines()
    assert len(lines) == 11 and lines[9].startswith("edit  20/20 windows")
    assert not any(letter < " " for line in lines for letter in line)


def test_a_result_and_another_bar_remove_the_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    first, second = (console.Progress(name, 2, "rows") for name in ("a", "b"))
    first.update(1)
    second.update(1)
    assert console.Progress.active is second
    console.result("out.mp4")
    assert console.Progress.active is None and capsys.readouterr().out == "out.mp4\n"


def test_a_table_in_a_pipe_is_one_plain_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    console.table([["a", "x" * 300], ["longer", "[b]y[/b]"]], header=("name", "text"))
    assert capsys.readouterr().out.splitlines() == ["name    text", f"a       {'x' * 300}", "longer  [b]y[/b]"]


def test_a_report_is_rendered_on_a_terminal_and_markdown_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "### Scores\n\n| metric | eve |\n|---|---|\n| clip_frame | 0.9 [0.8, 1.0] |"
    outputs = {}
    for name, stream in (("file", io.StringIO()), ("terminal", Terminal())):
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys, "stdout", stream)
        console.markdown(text)
        outputs[name] = stream.getvalue()
    assert outputs["file"] == text + "\n"
    assert "clip_frame" in outputs["terminal"] and "0.9 [0.8, 1.0]" in outputs["terminal"]
    assert "|" not in outputs["terminal"] and "###" not in outputs["terminal"]
