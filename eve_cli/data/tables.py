"""Tables of texts in files (csv, tsv, jsonl, json, parquet), whose columns may go by several names."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eve_cli.data.sample import VIDEOS
from eve_cli.errors import InputError, UsageError
from eve_cli.storage import jsonl

TYPES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")


def read(file: Path) -> list[dict[str, str]]:
    """The rows as texts, stripped; what is missing is empty. InputError if the file cannot be read as a table."""
    kind = file.suffix.lower()
    try:
        rows = {
            ".csv": _separated,
            ".tsv": _separated,
            ".jsonl": _lines,
            ".json": _json,
            ".parquet": _parquet,
        }[kind](file)
    except KeyError:
        raise InputError(f"{file}: a table is one of {', '.join(TYPES)}.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read: {error}.") from None
    return [{str(key): _text(value) for key, value in row.items() if key is not None} for row in rows]


def match(
    file: Path,
    columns: Sequence[str],
    aliases: Mapping[str, Sequence[str]],
    mapping: str = "",
    needed: Sequence[str] = (),
) -> dict[str, str]:
    """Which column of a table holds each of our fields: as `mapping` ("field=column,..."), else the first known name.

    UsageError for a field or column that is not there; InputError with the columns found if a needed field has none.
    """
    chosen = {}
    for item in filter(None, mapping.split(",")):
        field, equals, column = (part.strip() for part in item.partition("="))
        if not equals or field not in aliases:
            raise UsageError(f"--map {item}: write it as FIELD=COLUMN, where FIELD is one of {', '.join(aliases)}.")
        if column not in columns:
            raise UsageError(f"--map {item}: {file.name} has no column {column!r}; it has {', '.join(columns)}.")
        chosen[field] = column
    lower = {name.lower().replace(" ", "_"): name for name in reversed(columns)}
    for field, names in aliases.items():
        if field not in chosen and (column := next((lower[name] for name in names if name in lower), None)):
            chosen[field] = column
    if missing := [field for field in needed if field not in chosen]:
        raise InputError(
            f"{file}: no column was recognised as {' or '.join(missing)}; the columns are {', '.join(columns)}. "
            f"Name it with --map {missing[0]}=COLUMN."
        )
    return chosen


def clip_named(folder: Path, name: str) -> Path | None:
    """The clip `name` in a folder: a folder of pictures, or a video of any type; None if there is none."""
    path = folder / name
    if path.is_dir() or path.is_file():
        return path
    return next((video for ending in sorted(VIDEOS) if (video := path.with_name(path.name + ending)).is_file()), None)


def _separated(file: Path) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8-sig", newline="") as text:
        return list(csv.DictReader(text, delimiter="\t" if file.suffix.lower() == ".tsv" else ","))


def _lines(file: Path) -> list[dict[str, Any]]:
    return [row for _, row in jsonl.read(file)]


def _json(file: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise InputError(f"{file}: not JSON that can be read (it is nested too deeply).") from None
    except ValueError as error:
        raise InputError(f"{file}: not JSON ({error}).") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{file}: must hold a list of objects.")
    return rows


def _parquet(file: Path) -> list[dict[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UsageError(
            f'{file}: parquet files need pyarrow; install it with pip install "eve-cli[parquet]".'
        ) from None
    try:
        return parquet.read_table(file).to_pylist()
    except ArrowException as error:
        raise InputError(f"{file} cannot be read as parquet: {error}.") from None


def _text(value: Any) -> str:
    if value is None:
        return ""
    return (
        value.strip() if isinstance(value, str) else json.dumps(value) if isinstance(value, dict | list) else str(value)
    )
