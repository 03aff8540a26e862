"""Triplet files: JSON lines with input, instruction, output_caption and output, and if known input_caption and task.

Paths are relative to the file. Input and output are both pictures, or both videos of the same length.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eve_cli.data.folders import unreadable
from eve_cli.data.sample import Dropped, Listing, Triplet, check_text, clip_path, kind_of
from eve_cli.errors import InputError
from eve_cli.storage import jsonl
from eve_cli.tasks import TASKS

NEEDED = ("input", "instruction", "output_caption", "output")
ALLOWED = (*NEEDED, "input_caption", "task")


def read(file: Path) -> list[Triplet]:
    """All rows; InputError naming the file and the row if one is wrong."""
    listing = scan(file)
    if listing.dropped:
        first = listing.dropped[0]
        more = f" ({len(listing.dropped)} rows are wrong; `eve data check` lists them)" if listing.dropped[1:] else ""
        raise InputError(f"{first.where}: {first.reason}{more}.")
    if not listing.items:
        raise InputError(f"{file} has no rows.")
    return list(listing.items)


def scan(file: Path, *, deep: bool = False) -> Listing[Triplet]:
    """The rows that can be used and those that cannot; with `deep` the first frames are read too."""
    triplets: list[Triplet] = []
    dropped: list[Dropped] = []
    for number, line in jsonl.lines(file):
        try:
            triplets.append(_triplet(line, number, file.parent, deep))
        except InputError as error:
            dropped.append(Dropped(f"{file.name}:{number}", str(error).rstrip(".")))
    return Listing(triplets, dropped)


def _triplet(line: str, number: int, home: Path, deep: bool) -> Triplet:
    row = jsonl.loads(line, "the row")
    for key in row:
        if key not in ALLOWED:
            raise InputError(f"unknown key {key!r}; known are {', '.join(ALLOWED)}.")
    for key in ALLOWED:
        check_text(row.get(key), key, key in NEEDED)
    task = row.get("task")
    if task is not None and task not in TASKS:
        raise InputError(f"unknown task {task!r}; known are {', '.join(TASKS)}.")
    source, output = (_file(row, key, home, deep) for key in ("input", "output"))
    if kind_of(source) != kind_of(output):
        raise InputError(f"input is a {kind_of(source)} and output is a {kind_of(output)}.")
    return Triplet(
        number, source, output, row["instruction"], row["output_caption"], row.get("input_caption") or "", task
    )


def _file(row: dict[str, Any], key: str, home: Path, deep: bool) -> Path:
    path = clip_path(home, row[key], key)
    if kind_of(path) is None:
        raise InputError(f"{key} {row[key]!r} is no picture or video.")
    if deep and (fault := unreadable(path)):
        raise InputError(f"{key} {fault}.")
    return path
