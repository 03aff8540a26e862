"""What a rater said: one line a saying, only ever added to, and safe on the disk before the page goes on."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eve_cli.errors import InputError, OutputError, UsageError

NAME = re.compile(r"[^\W_][\w -]{0,39}")
ANSWER, BROKEN, UNDO, START = "answer", "broken", "undo", "start"
PREFIX, SUFFIX = "answers-", ".jsonl"
MEASURED = ("rt_ms", "replays", "blurs", "width", "height")


@dataclass
class Log:
    """A rater's sayings that still count, in order: answers and broken trials; what was undone is gone."""

    rater: str
    seat: int | None = None
    said: list[dict[str, Any]] = field(default_factory=list)
    damaged: int = 0

    @property
    def answers(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Answers by (trial, question)."""
        return {(line["trial"], line["question"]): line for line in self.said if line["kind"] == ANSWER}

    @property
    def broken(self) -> set[str]:
        """Trials whose videos did not play."""
        return {line["trial"] for line in self.said if line["kind"] == BROKEN}


def rater_name(text: object) -> str:
    """A rater's name as its file has it; UsageError if it could be anything but a name."""
    name = " ".join(text.split()) if isinstance(text, str) else ""
    if not NAME.fullmatch(name):
        raise UsageError("A name has 1 to 40 letters, digits, spaces or hyphens, and starts with a letter or digit.")
    return name.replace(" ", "-").casefold()


def path_of(study: Path, rater: str) -> Path:
    """The file of a rater whose name `rater_name` has passed."""
    return study / f"{PREFIX}{rater}{SUFFIX}"


def read(path: Path) -> Log:
    """The log in a file; lines that are cut or damaged are counted and left out."""
    log = Log(path.name[len(PREFIX) : -len(SUFFIX)])
    try:
        held = path.read_bytes()
    except FileNotFoundError:
        return log
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    for text in filter(None, held.split(b"\n")):
        try:
            _apply(log, json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError):
            log.damaged += 1
    return log


def read_all(study: Path) -> list[Log]:
    """The logs of all raters, by name."""
    return [read(path) for path in sorted(study.glob(f"{PREFIX}*{SUFFIX}"))]


def _apply(log: Log, line: Mapping[str, Any]) -> None:
    kind, seat = line["kind"], int(line["seat"])
    if kind == UNDO:
        del log.said[-1:]
    elif kind == ANSWER:
        _ = line["trial"] + line["question"], int(line["choice"]), list(line["shown"])
        log.said.append(dict(line))
    elif kind == BROKEN:
        _ = line["trial"] + ""
        log.said.append(dict(line))
    log.seat = seat if log.seat is None else log.seat


def start(study: Path, rater: str) -> Log:
    """The rater's log, begun if it is new; a new rater takes the next free seat."""
    log = read(path_of(study, rater))
    if log.seat is None:
        taken = [other.seat for other in read_all(study) if other.seat is not None]
        log.seat = max(taken, default=-1) + 1
        add(study, log, {"kind": START})
    return log


def add(study: Path, log: Log, line: Mapping[str, Any]) -> Log:
    """The log after one more saying, which is then on the disk."""
    path = path_of(study, log.rater)
    try:
        _append(path, {**line, "seat": log.seat, "ts": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
    except OSError as error:
        raise OutputError(f"{path}: the answer could not be written ({error.strerror}).") from error
    return read(path)


def _append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line; what a power cut left of an unfinished one is first ended, so that it spoils only itself."""
    with path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
        torn = bool(end) and file.read(1) != b"\n"
        file.write(b"\n" * torn + json.dumps(line, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
