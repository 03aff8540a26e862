"""One batch on many machines without an engine: each does a share of the rows, and their results are joined."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eve_cli.editing.batch import RESULTS, Result, lines_of
from eve_cli.editing.batch_rows import Row
from eve_cli.errors import UsageError
from eve_cli.storage import jsonl

FILE = re.compile(r"results\.(\d+)-of-(\d+)\.jsonl")


@dataclass(frozen=True)
class JobArray:
    """The environment variables by which a kind of job array says which task this is."""

    index: str
    count: str
    first: str = ""
    step: str = ""


JOB_ARRAYS = (
    JobArray("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP"),
    JobArray("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
    JobArray("BATCH_TASK_INDEX", "BATCH_TASK_COUNT"),
    JobArray("CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT"),
    JobArray("JOB_COMPLETION_INDEX", "JOB_COMPLETION_COUNT"),
)
"""Slurm, AWS Batch, Google Batch, Cloud Run, Kubernetes. The last sets no count: a manifest must set that variable."""


@dataclass(frozen=True)
class Shard:
    """The `index`-th of `count` equal shares of the rows, from 1."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] = os.environ) -> Shard:
        """From `I/N`, or for `auto` from what a job array sets; UsageError for anything else."""
        if text == "auto":
            return cls.of_job_array(environment)
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise UsageError(f"--shard {text}: name it I/N with I from 1 to N, such as 3/64, or auto in a job array.")
        return cls(int(index), int(count))

    @classmethod
    def of_job_array(cls, environment: Mapping[str, str]) -> Shard:
        """The share of this task; UsageError if it is none of a whole job array."""
        for array in JOB_ARRAYS:
            if array.index in environment and array.count in environment:
                first, step = int(environment.get(array.first, 0)), int(environment.get(array.step, 1))
                index, count = (int(environment[array.index]) - first) // step + 1, int(environment[array.count])
                if index > count:
                    raise UsageError(f"--shard auto: this is task {index} of only {count}; name the shard as I/N.")
                return cls(index, count)
        names = ", ".join(array.index for array in JOB_ARRAYS)
        raise UsageError(f"--shard auto: this is no task of a job array (none of {names} and its count are set).")

    def of(self, rows: Sequence[Row]) -> list[Row]:
        """The rows of this shard."""
        return [row for row in rows if (row.number - self.index) % self.count == 0]

    @property
    def results(self) -> str:
        """The name of its file of results."""
        return f"results.{self.index:05d}-of-{self.count:05d}.jsonl"


def merge(folder: Path) -> tuple[list[Result], list[str]]:
    """Joins the shards' results into results.jsonl, in the order of rows: its lines, and the missing shards' files.

    The last line of a row counts. UsageError where there is no shard, or where the files are of different divisions.
    """
    shards = {path.name: int(name[2]) for path in folder.glob("results.*.jsonl") if (name := FILE.fullmatch(path.name))}
    counts = sorted(set(shards.values()))
    if len(counts) != 1:
        reason = f"has results of {' and of '.join(map(str, counts))} shards" if counts else "has no results.*.jsonl"
        raise UsageError(f"{folder}: {reason}; name a folder that eve batch --shard wrote, with one number of shards.")
    lines: dict[int, Result] = {}
    for name in (RESULTS, *sorted(shards)):
        lines |= {line["row"]: line for line in lines_of(folder / name) if "row" in line}
    merged = [lines[number] for number in sorted(lines)]
    jsonl.write(folder / RESULTS, merged)
    expected = (Shard(index, counts[0]).results for index in range(1, counts[0] + 1))
    return merged, [name for name in expected if name not in shards]
