"""`eve batch`: many edits with one model, from a manifest or a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer

from eve_cli.cli import console
from eve_cli.cli.options import add_command
from eve_cli.editing.progress import Watcher
from eve_cli.editing.request import EditRequest
from eve_cli.errors import OutputError, SomeFailed
from eve_cli.settings import like, setting, to_mapping

app = typer.Typer(add_completion=False)
OWN = ("source", "instruction", "out", "results", "again")
HELP = """Edit many videos with one model, loaded once.

MANIFEST is a .csv file with a header line, or a .jsonl file: columns input, instruction, and any setting of eve edit,
which overrides the option here. Paths are relative to the manifest. DIR is a folder of videos and images that all get
the same INSTRUCTION. Each row prints one line of JSON on stdout and in results.jsonl. Run the same command again to
resume and to retry failed rows. Exit code 6 if rows failed."""

BatchSettings = like(
    "BatchSettings",
    EditRequest,
    HELP,
    leave=("input", "output", "overwrite", "run_dir", "dry_run", "format", "json"),
    own=[
        ("source", Path, setting(help="A .csv or .jsonl file, or a folder.", argument=True, metavar="MANIFEST|DIR")),
        (
            "instruction",
            str | None,
            setting(None, "Instruction for all rows without their own.", argument=True, metavar="INSTRUCTION"),
        ),
        (
            "out",
            Path,
            setting(
                Path("edits"),
                "Folder of the results; created if missing.",
                flags=("--out", "-o"),
                metavar="DIR",
                panel="Result",
            ),
        ),
        (
            "results",
            Path | None,
            setting(None, "Results file (default: results.jsonl in --out).", metavar="FILE", panel="Result"),
        ),
        (
            "again",
            bool,
            setting(False, "Repeat all rows, including finished ones.", flags=("--again",), panel="Result"),
        ),
    ],
)


def batch(settings: Any) -> None:
    """Edit all rows, printing one line of JSON for each."""
    from eve_cli.editing import batch as runner
    from eve_cli.editing import manifest

    values = to_mapping(settings)
    shared = {name: value for name, value in values.items() if name not in OWN and value is not None}
    if settings.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    rows = manifest.read(settings.source, settings.instruction, shared, settings.out)
    results = settings.results or settings.out / runner.RESULTS
    _create(settings.out)
    if settings.again:
        results.unlink(missing_ok=True)
    bar = console.Progress("batch", len(rows), "rows", quiet=settings.quiet or settings.no_progress)
    failed: list[dict[str, Any]] = []
    try:
        for number, line in enumerate(runner.run(rows, results, lambda row: RowNotes(row, settings.quiet)), 1):
            console.result(line, as_json=True)
            if line["status"] == "failed":
                failed.append(line)
                console.say("fail", f"row {line['row']} ({line['id']}): {line['error']}")
            bar.update(number)
    except KeyboardInterrupt:
        console.say("stop", "finished rows are kept; run the same command again to resume")
        raise
    finally:
        bar.close()
    if failed:
        raise SomeFailed(
            f"{len(failed)} of {len(rows)} rows failed, the first is row {failed[0]['row']}; run the same command "
            "again to retry them."
        )


class RowNotes(Watcher):
    """Prints the notes of a row, with its number."""

    foresees = True

    def __init__(self, row: Any, quiet: bool) -> None:
        self.row, self.quiet = row, quiet

    def note(self, text: str) -> None:
        """Print one note."""
        if not self.quiet:
            console.say("note", f"row {self.row.number}: {text}")


def _create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot create this folder ({(error.strerror or str(error)).lower()}).") from error


add_command(app, "batch", BatchSettings, batch)
