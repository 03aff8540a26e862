"""`eve batch`: many edits with one model, from a manifest or a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from eve_cli.cli import console
from eve_cli.cli.flags import EditFlags
from eve_cli.cli.options import add_command
from eve_cli.editing.progress import EditCallbacks
from eve_cli.errors import OutputError, SomeFailed
from eve_cli.settings import like, setting, to_mapping

if TYPE_CHECKING:
    from eve_cli.editing.batch_rows import Row
    from eve_cli.runtime.dispatch import Dispatcher

app = typer.Typer(add_completion=False)
BATCH_ONLY = ("source", "instruction", "out", "results", "again", "workers", "patience", "shard")
WORKERS = "Many processes and machines"  # a panel of --help
HELP = """Edit many videos with one model, loaded once.

MANIFEST is a .csv whose first line names the columns, or a .jsonl of objects: input, instruction, and any setting of
eve edit, which win over the options here; inputs are named from the manifest's folder. DIR is a folder whose videos and
pictures all get the one INSTRUCTION. Each row ends in one line of JSON on stdout and in results.jsonl. Running the
same command again resumes it and retries failed rows. Exit code 6 if some rows failed."""

BatchSettings = like(
    "BatchSettings",
    EditFlags,
    HELP,
    leave=("input", "output", "overwrite", "run_dir", "dry_run", "format", "json"),
    own=[
        ("source", Path, setting(help="A .csv, a .jsonl or a folder.", argument=True, metavar="MANIFEST|DIR")),
        (
            "instruction",
            str | None,
            setting(None, "What to change in all rows that say nothing else.", argument=True, metavar="INSTRUCTION"),
        ),
        (
            "out",
            Path,
            setting(
                Path("edits"),
                "Folder of the results; made if need be.",
                flags=("--out", "-o"),
                metavar="DIR",
                panel="Result",
            ),
        ),
        (
            "results",
            Path | None,
            setting(None, "The file of results (default: results.jsonl in --out).", metavar="FILE", panel="Result"),
        ),
        (
            "again",
            bool,
            setting(False, "Do all rows again, also those that are done.", flags=("--again",), panel="Result"),
        ),
        (
            "workers",
            int,
            setting(1, "Processes that share the rows; 0 starts one for each GPU.", min=0, panel=WORKERS),
        ),
        (
            "patience",
            float,
            setting(
                30.0,
                "Minutes without any progress after which a worker is stopped and its row tried again.",
                min=0.1,
                metavar="MINUTES",
                panel=WORKERS,
            ),
        ),
        (
            "shard",
            str | None,
            setting(
                None,
                "Do only the I-th of N equal shares of the rows, for job arrays; auto reads I and N from the array.",
                metavar="I/N|auto",
                panel=WORKERS,
            ),
        ),
    ],
)


class BatchValues(Protocol):
    """The settings of `eve batch` beside those that all rows share, and of those the ones that it reads itself."""

    source: Path
    instruction: str | None
    out: Path
    results: Path | None
    again: bool
    workers: int
    patience: float
    shard: str | None
    offline: bool
    quiet: bool
    no_progress: bool


def batch(settings: BatchValues) -> None:
    """Edit many videos with one model."""
    from eve_cli.editing import batch as batches
    from eve_cli.editing import batch_rows
    from eve_cli.editing.shards import Shard

    values = to_mapping(settings)
    shared = {name: value for name, value in values.items() if name not in BATCH_ONLY and value is not None}
    if settings.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    note = (lambda text: None) if settings.quiet else partial(console.say, "note")
    rows = batch_rows.read(settings.source, settings.instruction, shared, settings.out, note)
    shard = Shard.parse(settings.shard) if settings.shard else None
    rows = shard.of(rows) if shard else rows
    results = settings.results or settings.out / (shard.results if shard else batches.RESULTS)
    _make(settings.out)
    lines = batches.run(
        rows,
        results,
        lambda row: RowCallbacks(row, settings.quiet),
        again=settings.again,
        dispatcher=_dispatcher(settings),
    )
    bar = console.Progress("batch", len(rows), "rows", quiet=settings.quiet or settings.no_progress)
    failed: list[dict[str, Any]] = []
    try:
        for number, line in enumerate(lines, 1):
            bar.close()
            console.result(line, as_json=True)
            if line["status"] == "failed":
                failed.append(line)
                _say_failed(line)
            bar.update(number)
    except (KeyboardInterrupt, SystemExit):
        console.say("stop", "finished rows are kept; run the same command again to resume")
        raise
    finally:
        bar.close()
    if failed:
        raise SomeFailed(
            f"{len(failed)} of {len(rows)} rows failed, the first is row {failed[0]['row']}; the same command tries "
            "them again."
        )


class RowCallbacks(EditCallbacks):
    """Prints the notes of a row."""

    def __init__(self, row: Row, quiet: bool) -> None:
        self.row, self.quiet = row, quiet

    def on_note(self, text: str) -> None:
        if not self.quiet:
            console.end_progress()
            console.say("note", f"row {self.row.number}: {text}")


def _dispatcher(settings: BatchValues) -> Dispatcher[Row] | None:
    """Worker processes for the rows; None where this process does them itself."""
    from eve_cli.editing.batch import row_work
    from eve_cli.runtime.dispatch import Dispatcher
    from eve_cli.runtime.worker_processes import ProcessEngine, equal_shares, gpu_names

    if settings.workers == 1:
        return None
    gpus = gpu_names()
    workers = settings.workers or max(1, len(gpus))
    engine = ProcessEngine(row_work, equal_shares(workers, gpus))
    return Dispatcher(
        engine,
        workers,
        patience=60 * settings.patience,
        note=lambda row, text: RowCallbacks(row, settings.quiet).on_note(text),
    )


@dataclass(frozen=True)
class MergeSettings:
    """Join the results of a batch's shards.

    Writes DIR/results.jsonl from the files that eve batch --shard wrote, in the order of rows. Exit code 6 if a shard's
    file is missing or some rows failed."""

    folder: Path = setting(Path("edits"), "Folder of the results.", argument=True, metavar="DIR")


def merge(settings: MergeSettings) -> None:
    """Join the results of a batch's shards."""
    from eve_cli.editing import batch as batches
    from eve_cli.editing import shards

    lines, missing = shards.merge(settings.folder)
    for name in missing:
        console.say("fail", f"{settings.folder / name}: missing")
    failed = [line for line in lines if line["status"] == "failed"]
    for line in failed:
        _say_failed(line)
    console.result(str(settings.folder / batches.RESULTS))
    if failed or missing:
        raise SomeFailed(f"{len(failed)} of {len(lines)} rows failed, and {len(missing)} shards are missing.")


def _say_failed(line: Mapping[str, Any]) -> None:
    console.say("fail", f"row {line['row']} ({line['id']}): {line['error']}")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make this folder ({(error.strerror or str(error)).lower()}).") from error


add_command(app, "batch", BatchSettings, batch)
merge_app = typer.Typer(add_completion=False)
add_command(merge_app, "batch-merge", MergeSettings, merge)
