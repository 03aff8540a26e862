"""Measured times of past edits on this machine, to estimate the next one; stores no texts and no file names."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eve_cli.errors import OutputError
from eve_cli.storage import jsonl
from eve_cli.storage.paths import state

FILE = "history.jsonl"
MAX_RUNS, RECENT_RUNS = 400, 20
"""Runs kept in the file, and how many of the last comparable ones are used."""
SURE = 0.08
"""Lower bound of the relative deviation of a rate: a few runs may agree by chance."""


@dataclass(frozen=True)
class Rate:
    """Units a second, its relative deviation, and the number of past runs that it is from."""

    value: float
    spread: float
    runs: int


@dataclass(frozen=True)
class Run:
    """One past edit: where it ran, with which model, and what each stage took.

    `stages` are (units, seconds): bytes of weights to load, megapixels to read and to write, floating point operations
    for all between. `bytes` are those of activations as counted, and those that were really taken.
    """

    machine: str
    model: str
    stages: Mapping[str, tuple[float, float]]
    bytes: tuple[float, float] = (0.0, 0.0)
    ratio: float | None = None
    """Actual seconds divided by estimated seconds."""


@dataclass
class History:
    """The runs in a file, oldest first."""

    path: Path = field(default_factory=lambda: state() / FILE)

    def runs(self) -> list[Run]:
        """All runs; what cannot be read is left out."""
        try:
            return [run for line in jsonl.read_log(self.path) if (run := _run(line)) is not None]
        except OSError:
            return []

    def add(self, run: Run) -> None:
        """Keeps a run; a folder that cannot be written is no reason to fail."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            jsonl.append(self.path, asdict(run))
            runs = self.runs()
            if len(runs) > 2 * MAX_RUNS:
                jsonl.write(self.path, map(asdict, runs[-MAX_RUNS:]))
        except (OSError, OutputError):
            pass

    def rate(self, stage: str, machine: str, model: str | None) -> Rate | None:
        """The speed of a stage on this machine with this model (None: any model); None if it never ran."""
        alike = [run for run in self.runs() if run.machine == machine and model in (None, run.model)]
        measurements = [run.stages[stage] for run in alike if stage in run.stages]
        return rate_of([units / seconds for units, seconds in measurements if units > 0 and seconds > 0])

    def memory(self, machine: str, model: str) -> Rate | None:
        """Measured bytes divided by counted bytes of activations."""
        alike = [run.bytes for run in self.runs() if (run.machine, run.model) == (machine, model)]
        return rate_of([used / counted for counted, used in alike if counted > 0 and used > 0])


def rate_of(values: Iterable[float]) -> Rate | None:
    """The median of the last values, and how far two thirds of them lie from it at most, in logs."""
    logs = [math.log(value) for value in list(values)[-RECENT_RUNS:]]
    if not logs:
        return None
    middle = statistics.median(logs)
    apart = sorted(abs(each - middle) for each in logs)
    spread = apart[min(len(apart) - 1, round(len(apart) * 2 / 3))]
    return Rate(math.exp(middle), max(spread, SURE) * (1 + 1 / len(logs)), len(logs))


def _run(line: Mapping[str, Any] | None) -> Run | None:
    try:
        record: Any = line
        stages = {str(name): (float(units), float(seconds)) for name, (units, seconds) in record["stages"].items()}
        counted, used = record["bytes"]
        return Run(record["machine"], record["model"], stages, (float(counted), float(used)), record.get("ratio"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
