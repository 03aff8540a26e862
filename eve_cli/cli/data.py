"""`eve data check`, `show`, `export`, `world` and `novel`: check, show and convert training data, and generate some."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from eve_cli.cli import console
from eve_cli.data.export import LAYOUTS
from eve_cli.errors import CheckFailed, UsageError
from eve_cli.tasks import TASKS

if TYPE_CHECKING:
    from eve_cli.data.sample import Dropped, Listing

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Check, show and generate training data.")
EXAMPLES = 5
DATA_HELP = "A folder, a table, a .toml file of another trainer, or a .tar file."
DRAWS = ("pictures", "pairs", "clips")
TASK_NAMES = f"{', '.join(TASKS)} or motion"

Format = Literal["text", "json"]
Kind = Literal["subject", "ball", "style"]
NOVEL = "subject (a toy robot), ball (in a pattern of its own) or style (two inks)."
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.command("check")
def check(
    path: Annotated[Path, typer.Argument(help=DATA_HELP, metavar="PATH")],
    frames: Annotated[int, typer.Option("--frames", help="Frames that a clip of eve align needs.", min=1)] = 8,
    strict: Annotated[bool, typer.Option("--strict", help="Fail if any sample is dropped.")] = False,
    json_output: Json = False,
) -> None:
    """Check captions, triplets or inputs of eve align: count usable samples and list why others are dropped.

    Opens every file."""
    listing = _scan(path, frames)
    usable, dropped = len(listing.items), len(listing.dropped)
    console.say("kept", f"{usable} of {usable + dropped} in {path}")
    for reason, count in listing.reasons().items():
        where = [d.where for d in listing.dropped if d.reason == reason]
        console.say("drop", f"{count} · {reason}: {_few(where)}")
    if json_output:
        console.result({"kept": usable, "dropped": [_row(d) for d in listing.dropped]}, as_json=True)
    if not usable:
        raise CheckFailed(f"{path} has no usable samples; the reasons are listed above.")
    if strict and dropped:
        raise CheckFailed(
            f"{dropped} of {usable + dropped} samples in {path} cannot be used; fix them or omit --strict."
        )


@app.command("show")
def show(
    data: Annotated[str, typer.Argument(help=f"world, or: {DATA_HELP}", metavar="DATA")] = "world",
    output: Annotated[Path, typer.Option("--output", "-o", help="Path of the image.")] = Path("data.png"),
    draws: Annotated[str, typer.Option("--draws", help="What to show: pictures, pairs or clips.")] = "pairs",
    count: Annotated[int, typer.Option("--count", help="Number of samples.", min=1, max=400)] = 24,
    side: Annotated[int, typer.Option("--side", help="Height and width in pixels.", min=16, max=1024)] = 64,
    photos: Annotated[Path | None, typer.Option("--photos", help="Photographs to mix into the world.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Random seed.")] = 0,
) -> None:
    """Save a contact sheet of training samples with their texts."""
    if draws not in DRAWS:
        raise UsageError(f"--draws must be one of {', '.join(DRAWS)}, not {draws!r}.")
    from eve_cli.data import batches
    from eve_cli.data import photos as photographs
    from eve_cli.data import show as contact

    if (file := _inputs_file(Path(data))) is not None:
        from eve_cli.data import inputs

        contact.save(contact.inputs_sheet(inputs.FileInputs.open(file), count, side), output)
        console.result(output)
        return
    squares = photographs.load(photos, side) if photos else None
    source = batches.open_source(data, squares, 0.5)
    contact.save(contact.sheet(source, draws, count, side, seed), output)  # pyright: ignore[reportArgumentType]
    console.result(output)


@app.command("export")
def export(
    path: Annotated[Path, typer.Argument(help=DATA_HELP, metavar="PATH")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to create; it must be empty or missing.")],
    to: Annotated[str, typer.Option("--to", help=f"Layout: {', '.join(LAYOUTS)}.")] = "musubi",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
) -> None:
    """Write captioned clips or triplets in the layout of another trainer."""
    from eve_cli.data import batches, layouts
    from eve_cli.data import export as exporting

    listing = layouts.scan(path)
    items = batches.usable(listing, path)
    if listing.dropped:
        console.say("drop", f"{len(listing.dropped)} of {path}; `eve data check` lists them")
    folder = exporting.write(exporting.clips_of(items), to, out, overwrite)
    console.say("wrote", f"{len(items)} samples for {to}")
    console.result(folder)


@app.command("world")
def world(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to create; it must be empty or missing.")],
    count: Annotated[int, typer.Option("--count", "-n", help="Number of edits.", min=1)] = 100,
    size: Annotated[str, typer.Option("--size", help="Pixels: a side, or WIDTHxHEIGHT; even numbers.")] = "64",
    frames: Annotated[int, typer.Option("--frames", help="Frames per clip.", min=1)] = 8,
    fps: Annotated[float, typer.Option("--fps", help="Frames per second.", min=0.1)] = 8.0,
    task: Annotated[list[str] | None, typer.Option("--task", help=f"Only this task: {TASK_NAMES}. Repeatable.")] = None,
    held_out: Annotated[bool, typer.Option("--held-out", help="Only edits that training never uses.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Random seed.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    format: Annotated[Format, typer.Option("--format", help="Output on stdout: the folder (text) or json.")] = "text",
) -> None:
    """Generate edits of the procedural world: clips, true edits, masks, depth, flow, and a table of all files."""
    pixels = _pixels(size)
    from eve_cli.data.world import export

    settings = export.Export(count, pixels, frames, fps, tuple(task or ()), seed, held_out)
    progress = console.Progress("draw", count, "edits")
    try:
        folder = export.write(out, settings, overwrite, progress.update)
    finally:
        progress.close()
    table, rows = folder / export.EDITS, folder / export.TRIPLETS
    console.say("table", f"{table} · training file: {rows}")
    summary = {"path": str(folder), "edits": count, "table": str(table), "triplets": str(rows)}
    console.result(summary if format == "json" else out, as_json=format == "json")


@app.command("novel")
def novel(
    kind: Annotated[Kind, typer.Argument(help=NOVEL, metavar="KIND")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to create; it must be empty or missing.")],
    token: Annotated[str, typer.Option("--token", help="Token that names it in the captions.")] = "<toy>",
    count: Annotated[int, typer.Option("--count", "-n", help="Number of images.", min=1)] = 12,
    side: Annotated[int, typer.Option("--side", help="Height and width in pixels.", min=16, max=2048)] = 128,
    seed: Annotated[int, typer.Option("--seed", help="Random seed.")] = 0,
) -> None:
    """Generate images of a subject or style that is not in the world's training data, to train a LoRA."""
    from eve_cli.data.world import novel as drawing

    console.result(drawing.write(out, kind, token, count, side, seed))


def _pixels(size: str) -> tuple[int, int]:
    """Width and height of `64` or `96x54`."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", size)
    width, height = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(width, height) < 16 or max(width, height) > 2048 or width % 2 or height % 2:
        raise UsageError(f"--size must be even numbers from 16 to 2048, as 64 or 96x54, not {size!r}.")
    return width, height


def _inputs_file(path: Path) -> Path | None:
    """The file of inputs for eve align that a path names, or None."""
    from eve_cli.data import layouts
    from eve_cli.data.inputs import INPUTS

    if path.is_dir():
        return path / INPUTS if (path / INPUTS).is_file() else None
    return path if path.suffix == ".jsonl" and path.is_file() and layouts.form(path) == "inputs" else None


def _scan(path: Path, frames: int) -> Listing[Any]:
    from eve_cli.data import inputs, layouts

    file = _inputs_file(path)
    return layouts.scan(path, deep=True) if file is None else inputs.scan(file, frames)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else ""
    return ", ".join(names[:EXAMPLES]) + more


def _row(dropped: Dropped) -> dict[str, str]:
    return {"where": dropped.where, "reason": dropped.reason}
