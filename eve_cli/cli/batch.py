"""`eve batch`: many edits with one model, from a manifest or a folder."""

from __future__ import annotations

import os
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

app = typer.Typer(add_completion=False)
BATCH_ONLY = ("source", "instruction", "out", "results", "again")
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
    ],
)


class BatchValues(Protocol):
    """The settings of `eve batch` beside those that all rows share, and of those the ones that it reads itself."""

    source: Path
    instruction: str | None
    out: Path
    results: Path | None
    again: bool
    offline: bool
    quiet: bool
    no_progress: bool


def batch(settings: BatchValues) -> None:
    """Edit many videos with one model."""
    from eve_cli.editing import batch as batches
    from eve_cli.editing import batch_rows

    values = to_mapping(settings)
    shared = {name: value for name, value in values.items() if name not in BATCH_ONLY and value is not None}
    if settings.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    note = (lambda text: None) if settings.quiet else partial(console.say, "note")
    rows = batch_rows.read(settings.source, settings.instruction, shared, settings.out, note)
    results = settings.results or settings.out / batches.RESULTS
    _make(settings.out)
    lines = batches.run(rows, results, lambda row: RowCallbacks(row, settings.quiet), again=settings.again)
    bar = console.Progress("batch", len(rows), "rows", quiet=settings.quiet or settings.no_progress)
    failed: list[dict[str, Any]] = []
    try:
        for number, line in enumerate(lines, 1):
            bar.close()
            console.result(line, as_json=True)
            if line["status"] == "failed":
                failed.append(line)
                console.say("fail", f"row {line['row']} ({line['id']}): {line['error']}")
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


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make this folder ({(error.strerror or str(error)).lower()}).") from error


add_command(app, "batch", BatchSettings, batch)
