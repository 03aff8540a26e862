"""What users see: messages and progress go to stderr, results go to stdout.

Rich draws on a terminal; into files, pipes and dumb terminals go plain lines without control characters.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, ClassVar, TextIO

from eve_cli.errors import OutputError
from eve_cli.storage.paths import is_visible

if TYPE_CHECKING:
    from rich import progress

REDRAW_SECONDS = 0.1


def prepare_streams() -> None:
    """Let every name be printed: what the encoding of stdout lacks is escaped, but a pipe gets the bytes of file names.

    Streams that are closed become the null device, so that no file is opened in their place.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        raw = not sys.stdout.isatty() and sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if raw else "backslashreplace")


def finish_stdout() -> None:
    """Where the rest of stdout cannot be written, drop it: the error was reported, and Python would report it again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(label: str, text: str) -> None:
    """One message on stderr, with a short label in front; none where stderr is gone, as a closed terminal's is."""
    with suppress(OSError):
        print(f"{label:<5} {visible(text)}", file=sys.stderr, flush=True)


def visible(text: str) -> str:
    """A text with control characters, and what stands for bytes that are no UTF-8, as escapes."""
    return "".join(letter if is_visible(letter) or letter == "\n" else ascii(letter)[1:-1] for letter in text)


def error(message: str) -> None:
    """One sentence about what went wrong, on stderr."""
    say("error", message)


def result(value: Any, *, as_json: bool = False) -> None:
    """The one result on stdout: a path alone, or one JSON object; OutputError, which names it, if stdout is full."""
    end_progress()
    text = json.dumps(value) if as_json else str(value)
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"stdout: cannot write ({(error.strerror or str(error)).lower()}): {text}") from error


def table(rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Rows on stdout in aligned columns; on a terminal long cells wrap, plain output keeps one line a row."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    end_progress()
    grid = Table(*header, box=None, show_header=bool(header), pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows:
        grid.add_row(*map(Text, row))
    if is_terminal(sys.stdout):
        Console(file=sys.stdout, highlight=False).print(grid)
        return
    console = Console(width=10_000, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(grid)
    result("\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n")))


def markdown(text: str) -> None:
    """A report with tables on stdout: rendered on a terminal, its Markdown source elsewhere."""
    if not is_terminal(sys.stdout):
        result(text)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    end_progress()
    Console(file=sys.stdout).print(Markdown(text))


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can redraw a line."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


class Progress:
    """Progress of some work on stderr: a bar on a terminal, else a line for every tenth; none if `quiet`.

    One bar is drawn at a time: the first `update` of another one removes it.
    """

    active: ClassVar[Progress | None] = None

    def __init__(self, label: str, total: int, unit: str, *, quiet: bool = False) -> None:
        self.label, self.total, self.unit, self.quiet = label, max(total, 1), unit, quiet
        self.live = is_terminal(sys.stderr)
        self.started, self.first = time.monotonic(), 0.0
        self.tenth, self.drawn_at = 0, 0.0
        self._bar: progress.Progress | None = None

    def update(self, done: float, note: str = "") -> None:
        """Shows that `done` of the total is finished; on plain output, only at every tenth."""
        tenth = int(done * 10 // self.total)
        if self.quiet or (not self.live and tenth <= self.tenth):
            return
        self.tenth = tenth
        text = f"{int(done)}/{self.total} {self.unit}{self._remaining(done)}{' · ' + note if note else ''}"
        if self.live:
            self._draw(done, text)
        else:
            say(self.label, text)

    def close(self) -> None:
        """Removes the bar; a later `update` draws it again."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = Progress.active = None

    def skip(self, done: float) -> None:
        """Counts `done` as finished before; the remaining time is estimated from what follows."""
        self.started, self.first = time.monotonic(), done

    def _draw(self, done: float, text: str) -> None:
        now = time.monotonic()
        if self._bar is None:
            end_progress()
            self._bar, Progress.active, self.drawn_at = _bar(self.label), self, 0.0
            self._bar.start()
        if now - self.drawn_at >= REDRAW_SECONDS or done >= self.total:
            self._bar.update(self._bar.task_ids[0], total=self.total, completed=done, text=text, refresh=True)
            self.drawn_at = now

    def _remaining(self, done: float) -> str:
        if not self.first < done < self.total:
            return ""
        seconds = (time.monotonic() - self.started) / (done - self.first) * (self.total - done)
        return f" · left {clock(seconds)}"


def end_progress() -> None:
    """Removes the bar that is drawn, if there is one."""
    if Progress.active is not None:
        Progress.active.close()


def _bar(label: str) -> progress.Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    before, after = (TextColumn(form, markup=False) for form in ("{task.description:<5}", "{task.fields[text]}"))
    console = Console(file=sys.stderr, highlight=False)
    bar = Progress(
        before, BarColumn(24), after, console=console, auto_refresh=False, transient=True, redirect_stdout=False
    )
    bar.add_task(label, text="")
    return bar


def clock(seconds: float) -> str:
    """Seconds as people read them: `12.3 s`, `3 m 05 s`, `1 h 02 m`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, remainder = divmod(round(seconds), 60)
    return f"{minutes} m {remainder:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} m"
