"""The answer file of a rater: one JSON line an event, append-only, synced to disk before the page continues."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eve_cli.errors import InputError, OutputError, UsageError
from eve_cli.storage import jsonl

NAME = re.compile(r"[^\W_][\w -]{0,39}")
ANSWER, BROKEN, UNDO, START = "answer", "broken", "undo", "start"
PREFIX, SUFFIX = "answers-", ".jsonl"
MEASURED = ("rt_ms", "replays", "blurs", "width", "height")


@dataclass
class AnswerLog:
    """A rater's valid events in order: answers and broken trials, without those that were undone.

    `seat` is the rater's number in the study, from 0.
    """

    rater: str
    seat: int | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    damaged: int = 0

    @property
    def answers(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Answers by (trial, question)."""
        return {(line["trial"], line["question"]): line for line in self.events if line["kind"] == ANSWER}

    @property
    def broken(self) -> set[str]:
        """Trials whose videos did not play."""
        return {line["trial"] for line in self.events if line["kind"] == BROKEN}


def rater_name(text: object) -> str:
    """A rater's name as used in the file name; UsageError if it is not a plain name."""
    name = " ".join(text.split()) if isinstance(text, str) else ""
    if not NAME.fullmatch(name):
        raise UsageError("A name has 1 to 40 letters, digits, spaces or hyphens, and starts with a letter or digit.")
    return name.replace(" ", "-").casefold()


def path_of(study: Path, rater: str) -> Path:
    """The answer file of a rater, whose name comes from `rater_name`."""
    return study / f"{PREFIX}{rater}{SUFFIX}"


def read(path: Path) -> AnswerLog:
    """The log in a file; truncated or damaged lines are counted and skipped."""
    log = AnswerLog(path.name[len(PREFIX) : -len(SUFFIX)])
    try:
        lines = list(jsonl.read_log(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    for line in lines:
        try:
            _apply(log, line or {})
        except (ValueError, KeyError, TypeError, AttributeError):
            log.damaged += 1
    return log


def read_all(study: Path) -> list[AnswerLog]:
    """The logs of all raters, by name."""
    return [read(path) for path in sorted(study.glob(f"{PREFIX}*{SUFFIX}"))]


def _apply(log: AnswerLog, line: Mapping[str, Any]) -> None:
    kind, seat = line["kind"], int(line["seat"])
    if kind == UNDO:
        del log.events[-1:]
    elif kind == ANSWER:
        _ = line["trial"] + line["question"], int(line["choice"]), list(line["shown"])
        log.events.append(dict(line))
    elif kind == BROKEN:
        _ = line["trial"] + ""
        log.events.append(dict(line))
    log.seat = seat if log.seat is None else log.seat


def start(study: Path, rater: str) -> AnswerLog:
    """The rater's log, created if it is new; a new rater gets the next free seat."""
    log = read(path_of(study, rater))
    if log.seat is None:
        seats = [each.seat for each in read_all(study) if each.seat is not None]
        log.seat = max(seats, default=-1) + 1
        add(study, log, {"kind": START})
    return log


def add(study: Path, log: AnswerLog, line: Mapping[str, Any]) -> AnswerLog:
    """Appends an event, synced to disk, and returns the log after it; OutputError if it cannot be written."""
    path = path_of(study, log.rater)
    try:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        jsonl.append(path, {**line, "seat": log.seat, "ts": now}, durable=True)
    except OSError as error:
        raise OutputError(f"{path}: the answer could not be written ({error.strerror}).") from error
    return read(path)
