r"""JSON lines: one object a line. A line ends at \n alone; other line separators (U+2028) may stand inside a string."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from eve_cli.errors import EveError, InputError
from eve_cli.storage.atomic import write_text


def parse(text: str, name: str, error: type[EveError] = InputError) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a text and the numbers of their lines, from 1; blank lines are skipped.

    Raises `error` with the name and the number of a line that is not a JSON object.
    """
    return ((number, loads(line, f"{name}: line {number}", error)) for number, line in _lines(text))


def read(path: Path, error: type[EveError] = InputError) -> Iterator[tuple[int, dict[str, Any]]]:
    """`parse` for a file in UTF-8, with or without a byte order mark. Raises `error` too where it cannot be read."""
    return ((number, loads(line, f"{path}: line {number}", error)) for number, line in lines(path, error))


def lines(path: Path, error: type[EveError] = InputError) -> Iterator[tuple[int, str]]:
    """The lines of such a file that are not blank, with their numbers from 1, for `loads` line by line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as fault:
        raise error(f"{path}: cannot be read ({(fault.strerror or str(fault)).lower()}).") from fault
    except UnicodeDecodeError as fault:
        raise error(f"{path}: is not text in UTF-8; save it as such.") from fault
    return _lines(text)


def read_log(path: Path) -> Iterator[dict[str, Any] | None]:
    """The objects of a file that `append` wrote, oldest first; None for each damaged line, as a power cut leaves one.

    A missing file has no lines. Raises OSError where the file cannot be read.
    """
    content = path.read_bytes() if path.exists() else b""
    for line in filter(bytes.strip, content.split(b"\n")):
        try:
            yield loads(line.decode(), str(path))
        except (UnicodeDecodeError, InputError):
            yield None


def append(path: Path, value: Mapping[str, Any], *, durable: bool = False) -> None:
    """Add one line; with `durable` it is on the disk when this returns. Raises OSError.

    A last line that was cut short is ended first, so that it spoils only itself.
    """
    with path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
        cut = bool(end) and file.read(1) != b"\n"
        file.write(b"\n" * cut + dumps(value).encode(errors="backslashreplace") + b"\n")
        if durable:
            file.flush()
            os.fsync(file.fileno())


def write(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file by these lines, complete or not at all; OutputError where it cannot be written."""
    write_text(path, "".join(f"{dumps(value)}\n" for value in values))


def dumps(value: Mapping[str, Any]) -> str:
    """One line, without its end."""
    return json.dumps(value, ensure_ascii=False)


def loads(line: str, where: str, error: type[EveError] = InputError) -> dict[str, Any]:
    """The object of one line. Raises `error`, which begins with `where`, for anything else."""
    try:
        value = json.loads(line)
    except RecursionError:
        raise error(f"{where} is not JSON that can be read (it is nested too deeply).") from None
    except ValueError as fault:
        raise error(f"{where} is not JSON ({fault}).") from None
    if not isinstance(value, dict):
        raise error(f'{where} must be an object, such as {{"input": "clip.mp4"}}, not {type(value).__name__}.')
    return value


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
