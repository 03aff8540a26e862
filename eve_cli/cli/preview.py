"""`eve preview`: a few windows at several settings, on one sheet; lists of values make a page."""

from __future__ import annotations

import dataclasses
import os
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Union, get_args, get_origin

import typer

from eve_cli.cli import console
from eve_cli.cli.edit import ConsoleCallbacks
from eve_cli.cli.flags import EditFlags, flags_of
from eve_cli.cli.options import add_command, command_line
from eve_cli.editing.request import EditRequest, default_output
from eve_cli.errors import OutputError, UsageError
from eve_cli.settings import field_types, like, setting, to_mapping
from eve_cli.storage.paths import name_problem

if TYPE_CHECKING:
    from eve_cli.editing.preview import Cell, Preview

app = typer.Typer(add_completion=False)
MOST = 64
LEFT_OUT = ("overwrite", "side_by_side", "codec", "crf", "lossless", "run_dir", "dry_run", "reuse_preview")
NOT_VARIED = ("start", "end", "window", "overlap", "span", "keyframes")


def _number(kind: Any) -> Callable[[str], Any] | None:
    """What reads a value of a numeric setting."""
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return int if int in kinds else float if float in kinds else None


VARIED = {
    name: parse
    for name, kind in field_types(EditFlags).items()
    if (parse := _number(kind)) is not None and name not in (*LEFT_OUT, *NOT_VARIED)
}
"""Settings that take a list of values, and what reads one of them."""
HELP = """Show a few windows of an edit at several settings, before editing the whole clip.

The first, the middle and the last window (of the longest shots, if there are cuts) on one contact sheet, at three
strengths. A list of values, like --guidance-scale 3,5,7.5 or --seed 1..4, shows those; several lists show all
combinations, on a page with videos, each with the command that makes it. Numbers as --steps take lists: {names}.
The clip is encoded once, and eve edit with the same settings reuses the windows that are made here."""

PreviewSettings = like(
    "PreviewSettings",
    EditFlags,
    HELP.format(names=", ".join(f"--{name.replace('_', '-')}" for name in VARIED)),
    leave=LEFT_OUT,
    kinds={name: str | None for name in VARIED},
    own=[
        (
            "output",
            Path | None,
            setting(
                None,
                "Where to write the sheet, a .png, and the page beside it (default: a new name in the current folder).",
                flags=("--output", "-o"),
                metavar="FILE",
                panel="Result",
                basic=True,
            ),
        ),
        (
            "show",
            Literal["three", "all"],
            setting("three", "Three windows, or all, which makes whole edits.", panel="Result", basic=True),
        ),
    ],
)


class PreviewValues(Protocol):
    """The settings of `eve preview` beside those of the edit."""

    output: Path | None
    show: Literal["three", "all"]


def preview(settings: PreviewValues) -> None:
    """Show a few windows of an edit at several settings."""
    values = {name: value for name, value in to_mapping(settings).items() if name not in ("show", "output")}
    lists = {name: _values(name, values[name]) for name in VARIED if values[name] not in (None, _default(name))}
    values = {name: value for name, value in values.items() if name not in VARIED}
    values |= {name: items[0] for name, items in lists.items() if len(items) == 1}
    request = EditRequest.of(values, "command line")
    varied = {name: items for name, items in lists.items() if len(items) > 1}
    for name, items in varied.items():
        for item in items:
            EditRequest.of(values | {name: item}, "command line")
    _check(varied, settings.output)
    if request.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"

    from eve_cli.editing.preview import preview as make_preview

    with ConsoleCallbacks(quiet=request.quiet, no_progress=request.no_progress) as callbacks:
        callbacks.resumable = False
        result = make_preview(request, varied, settings.show, callbacks)
    sheet = settings.output or default_output(request.changed(**result.cells[0].values)).with_suffix(".preview.png")
    _sheet(result, sheet)
    page = _page(result, sheet.with_suffix(".html"), varied) if varied else None
    for line in notes(result):
        callbacks.on_note(line)
    example = command(result.cells[len(result.cells) // 2])
    callbacks.say("done", f"{console.clock(callbacks.seconds)} · to edit the whole clip, for example: {example}")
    console.result(_as_json(result, sheet, page) if request.as_json else page or sheet, as_json=request.as_json)


def _values(name: str, text: str) -> list[Any]:
    """`3,5,7.5` and, of whole numbers, `1..4`; UsageError for anything else."""
    parse = VARIED[name]
    numbers: list[Any] = []
    try:
        for part in str(text).split(","):
            span = re.fullmatch(r"(\d+)\.\.(\d+)", part.strip())
            numbers += range(int(span[1]), int(span[2]) + 1) if span and parse is int else [parse(part)]
    except ValueError:
        flag = name.replace("_", "-")
        raise UsageError(f"--{flag} {text}: give a number, or several with commas, such as --{flag} 1,2,3.") from None
    return list(dict.fromkeys(numbers))


def _default(name: str) -> Any:
    return next(item.default for item in dataclasses.fields(EditFlags) if item.name == name)


def _check(varied: dict[str, list[Any]], output: Path | None) -> None:
    count = 1
    for values in varied.values():
        count *= len(values)
    if count > MOST:
        raise UsageError(f"These lists make {count} combinations, and at most {MOST} are shown: give fewer values.")
    if output is not None and output.suffix.lower() != ".png":
        raise UsageError(f"{output}: the sheet is a picture; name a .png, such as {output.with_suffix('.png')}.")
    if output is not None and (problem := name_problem(output.with_suffix(".html"))):
        raise OutputError(f"{output}: {problem}; choose another --output.")
    if output is not None and not output.parent.is_dir():
        raise UsageError(f"{output.parent}: this folder does not exist; make it first or choose another --output.")


def command(cell: Cell) -> str:
    """The words that make a cell's full edit."""
    return command_line("edit", flags_of(cell.request), leave=("quiet", "no_progress", "format", "json", "on_oom"))


def label(cell: Cell) -> str:
    """`text-cfg 3 · seed 1`."""
    return " · ".join(f"{name.replace('_', '-')} {value:g}" for name, value in cell.values.items())


def notes(result: Preview) -> list[str]:
    """What the preview is, and what it is not."""
    exact = sum(piece.exact for piece in result.pieces)
    lines = [f"identical in the full edit, which reuses them: {exact} of {len(result.pieces)} windows"] if exact else []
    if exact < len(result.pieces):
        lines.append(
            "windows marked ~ have the noise of the full edit, but are edited independently of the windows before them"
        )
    return lines


def _columns(result: Preview) -> list[tuple[str, int]]:
    columns = []
    for piece, pictures in zip(result.pieces, result.source, strict=True):
        new = piece.window.new
        columns.append((f"{'' if piece.exact else '~ '}frames {new.start}-{new.stop - 1}", len(_ends(pictures))))
    return columns


def _ends(pictures: list[Any]) -> list[Any]:
    return [pictures[0], pictures[-1]] if len(pictures) > 1 else pictures


def _sheet(result: Preview, path: Path) -> None:
    from eve_cli.media.compose import contact_sheet, save_png

    rows = [("source", [picture for piece in result.source for picture in _ends(piece)])]
    rows += [(label(cell), [picture for piece in cell.pieces for picture in _ends(piece)]) for cell in result.cells]
    save_png(contact_sheet(_title(result), _columns(result), rows, notes(result)), path)


def _title(result: Preview) -> str:
    return f"{Path(result.info.name).name}: {result.plan.edit.instruction}"


def _page(result: Preview, path: Path, varied: dict[str, list[Any]]) -> Path:
    from eve_cli.cli import describe
    from eve_cli.evaluation.report import sweep

    cells = [
        sweep.SweepCell(label(cell), sweep.data_url(_joined(cell.pieces), result.fps), command(cell))
        for cell in result.cells
    ]
    facts = f"{describe.source(result.info, result.plan)} · shown: {', '.join(name for name, _ in _columns(result))}"
    source = sweep.data_url(_joined(result.source), result.fps)
    widest = len(list(varied.values())[-1])
    return sweep.write(path, _title(result), facts, notes(result), source, cells, min(widest, 6))


def _joined(pieces: list[list[Any]]) -> list[Any]:
    return [picture for piece in pieces for picture in piece]


def _as_json(result: Preview, sheet: Path, page: Path | None) -> dict[str, Any]:
    return {
        "sheet": str(sheet),
        "page": None if page is None else str(page),
        "windows": [
            {"start": piece.window.new.start, "stop": piece.window.stop, "exact": piece.exact}
            for piece in result.pieces
        ],
        "cells": [{"values": dict(cell.values), "command": command(cell)} for cell in result.cells],
        "unknown_words": list(result.plan.unknown_words),
        "unread": list(result.plan.unread),
    }


add_command(app, "preview", PreviewSettings, preview)
