"""What people see: human text goes to stderr, results go to stdout."""

import json
import sys
import time
from typing import Any


def say(label: str, text: str) -> None:
    """One line of human text, with a short label in front."""
    print(f"{label:<5} {text}", file=sys.stderr, flush=True)


def result(value: Any, *, as_json: bool = False) -> None:
    """The one result on stdout: a path alone, or one JSON object."""
    print(json.dumps(value) if as_json else value, flush=True)


def error(message: str) -> None:
    """One sentence about what went wrong."""
    say("error", message)


class Progress:
    """Counts work on stderr: one redrawn line on a terminal, else a line for every tenth; `quiet` says nothing."""

    def __init__(self, label: str, total: int, unit: str, *, quiet: bool = False) -> None:
        self.label, self.total, self.unit, self.quiet = label, max(total, 1), unit, quiet
        self.live = sys.stderr.isatty()
        self.started, self.first = time.monotonic(), 0.0
        self.tenth = 0

    def update(self, done: float, note: str = "") -> None:
        """Says that `done` of the total is finished, where that is worth a line."""
        tenth = int(done * 10 // self.total)
        if self.quiet or (not self.live and tenth <= self.tenth):
            return
        self.tenth = tenth
        text = f"{int(done)}/{self.total} {self.unit}{self._left(done)}{' · ' + note if note else ''}"
        if self.live:
            print(f"\r\x1b[K{self.label:<5} {text}", end="", file=sys.stderr, flush=True)
        else:
            say(self.label, text)

    def close(self) -> None:
        """Ends the redrawn line, if there is one."""
        if self.live and not self.quiet:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def skip(self, done: float) -> None:
        """So much was finished before; the time to come is reckoned from what comes now."""
        self.started, self.first = time.monotonic(), done

    def _left(self, done: float) -> str:
        if not self.first < done < self.total:
            return ""
        seconds = (time.monotonic() - self.started) / (done - self.first) * (self.total - done)
        return f" · left {clock(seconds)}"


def clock(seconds: float) -> str:
    """Seconds as people read them: `12.3 s`, `3 m 05 s`, `1 h 02 m`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} m {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} m"
