"""The results of a run: a row per edit and method, as a csv with the same bytes for the same input."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eve_cli.errors import InputError
from eve_cli.evaluation.metrics.base import Column
from eve_cli.storage.atomic import write_text

FACTS = ("method", "id", "video", "task", "frames")
TEXTS = ("notes", "error")
RUN, PER_EDIT, SUMMARY, PAGE = "run.json", "per_edit.csv", "summary.json", "index.html"


@dataclass
class EditScores:
    """The scores of one edit of one method: a value per column (NaN where undefined), notes, and an error."""

    method: str
    id: str
    video: str
    task: str
    frames: int = 0
    values: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    error: str = ""


@dataclass(frozen=True)
class Results:
    """The columns of a run, and its rows by method, each with the same edits in the same order."""

    columns: Sequence[Column]
    rows: Mapping[str, Sequence[EditScores]]

    def values(self, method: str, column: str) -> list[float]:
        """A column of a method, in the order of its rows."""
        return [row.values.get(column, math.nan) for row in self.rows[method]]

    def videos(self, method: str) -> list[str]:
        """The source video of each row."""
        return [row.video for row in self.rows[method]]

    @property
    def tasks(self) -> list[str]:
        """The tasks, in the order in which they first appear."""
        return list(dict.fromkeys(row.task for rows in self.rows.values() for row in rows))

    @property
    def failed(self) -> list[EditScores]:
        """The rows that could not be scored by every metric."""
        return [row for rows in self.rows.values() for row in rows if row.error]


def write_csv(path: Path, results: Results) -> None:
    """The rows as csv: six decimals, `nan` where there is no value, notes joined by `; `."""
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [column.name for column in results.columns]
        writer.writerow([*FACTS, *names, *TEXTS])
        for rows in results.rows.values():
            for row in rows:
                values = [f"{row.values.get(name, math.nan) + 0.0:.6f}" for name in names]
                facts = [getattr(row, name) for name in FACTS]
                writer.writerow([*facts, *("0.000000" if v == "-0.000000" else v for v in values), *_texts(row)])


def _texts(row: EditScores) -> tuple[str, str]:
    return "; ".join(row.notes), row.error


def read(folder: Path) -> Results:
    """The results in a run's folder; InputError if there are none."""
    record = read_json(folder / RUN)
    try:
        columns = [Column(**{**column, "anchors": {}}) for column in record["columns"]]
        rows: dict[str, list[EditScores]] = {}
        for cells in _csv_rows(folder / PER_EDIT):
            row = EditScores(cells["method"], cells["id"], cells["video"], cells["task"], int(cells["frames"]))
            row.values = {column.name: float(cells[column.name]) for column in columns}
            row.notes, row.error = [cells["notes"]] if cells["notes"] else [], cells["error"]
            rows.setdefault(row.method, []).append(row)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: not the results of an evaluation ({error!r} in its files).") from None
    return Results(columns, rows)


def _csv_rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a run; InputError if there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"{path}: no such file; is this the folder of an evaluation?") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}).") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: must contain a JSON object.")
    return value


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically; NaN becomes null."""
    write_text(path, json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """The value as plain JSON: lists, dicts, texts, and null for NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def described(column: Column) -> dict[str, Any]:
    """A column as stored in run.json."""
    return {name: value for name, value in asdict(column).items() if name != "anchors"}
