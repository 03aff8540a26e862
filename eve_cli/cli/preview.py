"""`eve preview`: a few windows at several settings, on one sheet; lists of values make a page."""

from __future__ import annotations

import dataclasses
import os
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import typer

from eve_cli.cli import console
from eve_cli.cli.edit import Shown
from eve_cli.cli.options import add_command, command_line
from eve_cli.editing.request import EditRequest, default_output
from eve_cli.errors import UsageError
from eve_cli.settings import field_types, from_mapping, like, setting, to_mapping

if TYPE_CHECKING:
    from eve_cli.editing.preview import Cell, Preview

app = typer.Typer(add_completion=False)
MOST = 64
NOT_SHOWN = ("overwrite", "side_by_side", "codec", "crf", "lossless", "run_dir", "dry_run", "reuse_preview")
NOT_VARIED = ("start", "end", "window", "overlap", "span", "keyframes")


def _number(kind: Any) -> Callable[[str], Any] | None:
    """What reads a value of a numeric setting."""
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return int if int in kinds else float if float in kinds else None


VARIED = {
    name: read
    for name, kind in field_types(EditRequest).items()
    if (read := _number(kind)) is not None and name not in (*NOT_SHOWN, *NOT_VARIED)
}
"""Settings that take a list of values, and what reads one of them."""
HELP = """Show a few windows of an edit at several settings, before all of it.

The first, the middle and the last window (of the longest shots, if there are cuts) on one contact sheet, at three
strengths. A list of values, like --guidance-scale 3,5,7.5 or --seed 1..4, shows those; several lists show all
combinations, on a page with videos, each with the command that makes it. Numbers as --steps take lists: {names}.
The clip is encoded once, and eve edit of the same settings goes on with what is made here."""

PreviewSettings = like(
    "PreviewSettings",
    EditRequest,
    HELP.format(names=", ".join(f"--{name.replace('_', '-')}" for name in VARIED)),
    leave=NOT_SHOWN,
    kinds={name: str | None for name in VARIED},
    own=[
        (
            "output",
            Path | None,
            setting(
                None,
                "Where the sheet goes, a .png, and the page beside it (default: a new name here).",
                flags=("--output", "-o"),
                metavar="FILE",
                panel="Result",
            ),
        ),
        (
            "show",
            Literal["three", "all"],
            setting("three", "Three windows, or all, which makes whole edits.", panel="Result"),
        ),
    ],
)


def preview(settings: Any) -> None:
    """Makes the sheet, and the page if there are lists."""
    given = {name: value for name, value in to_mapping(settings).items() if name not in ("show", "output")}
    lists = {name: _values(name, given.pop(name)) for name in VARIED if given[name] not in (None, _default(name))}
    for name in VARIED:
        given.pop(name, None)
    single = {name: values[0] for name, values in lists.items() if len(values) == 1}
    request = from_mapping(EditRequest, given | single, "command line")
    varied = {name: values for name, values in lists.items() if len(values) > 1}
    for name, values in varied.items():
        for value in values:
            from_mapping(EditRequest, given | single | {name: value}, "command line")
    _check(varied, settings.output)
    if request.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    shown = PreviewShown(quiet=request.quiet, no_progress=request.no_progress)

    from eve_cli.editing.preview import preview as make

    try:
        made = make(request, varied, settings.show, shown)
    finally:
        shown.end()
    sheet = settings.output or default_output(request.changed(**made.cells[0].values)).with_suffix(".preview.png")
    _sheet(made, sheet)
    page = _page(made, sheet.with_suffix(".html"), varied) if varied else None
    for line in notes(made):
        shown.note(line)
    shown.say(
        "done", f"{console.clock(shown.seconds)} · go on with, for example: {command(made.cells[len(made.cells) // 2])}"
    )
    console.result(_as_json(made, sheet, page) if request.as_json else page or sheet, as_json=request.as_json)


class PreviewShown(Shown):
    """The same lines as of an edit, but there is nothing to resume."""

    foresees = False

    def found(self, info: Any, plan: dict[str, Any], unknown: list[str], folder: Path) -> None:
        """The source and the plan of the full edit."""
        super().found(info, plan, unknown, folder)
        self.run_dir = None


def _values(name: str, text: str) -> list[Any]:
    """`3,5,7.5` and, of whole numbers, `1..4`; UsageError for anything else."""
    read = VARIED[name]
    found: list[Any] = []
    try:
        for part in str(text).split(","):
            span = re.fullmatch(r"(\d+)\.\.(\d+)", part.strip())
            found += range(int(span[1]), int(span[2]) + 1) if span and read is int else [read(part)]
    except ValueError:
        flag = name.replace("_", "-")
        raise UsageError(f"--{flag} {text}: give a number, or several with commas, such as --{flag} 1,2,3.") from None
    return list(dict.fromkeys(found))


def _default(name: str) -> Any:
    return next(item.default for item in dataclasses.fields(EditRequest) if item.name == name)


def _check(varied: dict[str, list[Any]], output: Path | None) -> None:
    count = 1
    for values in varied.values():
        count *= len(values)
    if count > MOST:
        raise UsageError(f"These lists make {count} combinations, and at most {MOST} are shown: give fewer values.")
    if output is not None and output.suffix.lower() != ".png":
        raise UsageError(f"{output}: the sheet is a picture; name a .png, such as {output.with_suffix('.png')}.")
    if output is not None and not output.parent.is_dir():
        raise UsageError(f"{output.parent}: this folder does not exist; make it first or choose another --output.")


def command(cell: Cell) -> str:
    """The words that make a cell's full edit."""
    return command_line("edit", cell.request, leave=("quiet", "no_progress", "format", "json", "on_oom"))


def label(cell: Cell) -> str:
    """`text-cfg 3 · seed 1`."""
    return " · ".join(f"{name.replace('_', '-')} {value:g}" for name, value in cell.values.items())


def notes(made: Preview) -> list[str]:
    """What the preview is, and what it is not."""
    exact = sum(piece.exact for piece in made.pieces)
    told = [f"as in the full edit, which takes them over: {exact} of {len(made.pieces)} windows"] if exact else []
    if exact < len(made.pieces):
        told.append(
            "windows marked ~ have the noise of the full edit, but start anew where it goes on with what is before them"
        )
    return told


def _columns(made: Preview) -> list[tuple[str, int]]:
    found = []
    for piece, pictures in zip(made.pieces, made.source, strict=True):
        new = piece.window.new
        found.append((f"{'' if piece.exact else '~ '}frames {new.start}-{new.stop - 1}", len(_ends(pictures))))
    return found


def _ends(pictures: list[Any]) -> list[Any]:
    return [pictures[0], pictures[-1]] if len(pictures) > 1 else pictures


def _sheet(made: Preview, path: Path) -> None:
    from eve_cli.media.compose import contact_sheet, save_png

    rows = [("source", [picture for piece in made.source for picture in _ends(piece)])]
    rows += [(label(cell), [picture for piece in cell.pieces for picture in _ends(piece)]) for cell in made.cells]
    save_png(contact_sheet(_title(made), _columns(made), rows, notes(made)), path)


def _title(made: Preview) -> str:
    return f"{Path(made.info.name).name}: {made.plan['record']['settings']['instruction']}"


def _page(made: Preview, path: Path, varied: dict[str, list[Any]]) -> Path:
    from eve_cli.cli import describe
    from eve_cli.evaluation.report import sweep

    cells = [
        sweep.Shown(label(cell), sweep.address(_joined(cell.pieces), made.fps), command(cell)) for cell in made.cells
    ]
    facts = f"{describe.source(made.info, made.plan)} · shown: {', '.join(name for name, _ in _columns(made))}"
    source = sweep.address(_joined(made.source), made.fps)
    widest = len(list(varied.values())[-1])
    return sweep.write(path, _title(made), facts, notes(made), source, cells, min(widest, 6))


def _joined(pieces: list[list[Any]]) -> list[Any]:
    return [picture for piece in pieces for picture in piece]


def _as_json(made: Preview, sheet: Path, page: Path | None) -> dict[str, Any]:
    return {
        "sheet": str(sheet),
        "page": None if page is None else str(page),
        "windows": [
            {"start": piece.window.new.start, "stop": piece.window.stop, "exact": piece.exact} for piece in made.pieces
        ],
        "cells": [{"values": dict(cell.values), "command": command(cell)} for cell in made.cells],
        "unknown_words": made.unknown,
    }


add_command(app, "preview", PreviewSettings, preview)
