"""The page of a run: one HTML file that fetches nothing, beside its small videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eve_cli.evaluation.pairs import Pair
from eve_cli.evaluation.report import plots
from eve_cli.evaluation.report.templates import render, resource, script_json
from eve_cli.evaluation.results import PAGE, EditScores, Results, plain
from eve_cli.evaluation.sets import EvalSet
from eve_cli.evaluation.summary import ARROWS, decimals, not_run, number, with_values
from eve_cli.storage.atomic import write_text

if TYPE_CHECKING:
    from markupsafe import Markup

Videos = Mapping[tuple[str, str], Mapping[str, str]]  # (method, id) -> source, edited, reference -> relative path
PACKAGE = "eve_cli.evaluation.report"
FIRST_PLOTS = 4
SORT = ("edit_acc", "viclip_dir", "world_viclip_dir", "clip_text", "rest_psnr")  # the first that a run has
MARKS = {"better": "▲", "worse": "▼"}


def write(
    folder: Path,
    summary: Mapping[str, Any],
    eval_set: EvalSet,
    results: Results,
    videos: Videos,
    plot_names: Sequence[str],
) -> Path:
    """Writes index.html into a run's folder."""
    columns, empty = with_values(summary)
    text = render(
        PACKAGE,
        "page.html",
        style=resource(PACKAGE, "page.css"),
        clock=resource(PACKAGE, "clock.js"),
        summary=summary,
        tasks=summary["data"]["tasks"],
        rows=_rows(summary),
        published=any(summary["published"].values()),
        empty=empty,
        by_task={name: _task_rows(summary, name) for name in summary["methods"]},
        not_run=not_run(summary),
        plots=[_svg(folder, name) for name in plot_names],
        first_plots=FIRST_PLOTS,
        plots_message="" if plot_names or not columns or plots.available() else plots.NOT_INSTALLED,
        data=script_json(_data(summary, eval_set, results, videos)),
    )
    write_text(folder / PAGE, text)
    return folder / PAGE


def _svg(folder: Path, name: str) -> Markup:
    from markupsafe import Markup

    return Markup(plots.inline_svg(folder / plots.FOLDER / f"{name}.svg"))


def _data(summary: Mapping[str, Any], eval_set: EvalSet, results: Results, videos: Videos) -> dict[str, Any]:
    """What the page's script shows: columns, methods, tasks, and each edit with its clips and values."""
    scores = {(name, row.id): row for name, rows in results.rows.items() for row in rows}
    names = [column["name"] for column in summary["columns"]]
    columns = [{key: column[key] for key in ("name", "recipe", "better", "help")} for column in summary["columns"]]
    edits = [_edit(eval_set, pair, scores, videos) for pair in eval_set.pairs]
    sort = next((name for name in SORT if name in names), names[0] if names else "")
    methods = list(results.rows)
    return plain({"columns": columns, "methods": methods, "tasks": results.tasks, "sort": sort, "edits": edits})


def _edit(
    eval_set: EvalSet, pair: Pair, scores: Mapping[tuple[str, str], EditScores], videos: Videos
) -> dict[str, Any]:
    paths = [videos.get((name, pair.id), {}) for name in eval_set.methods]
    clips: list[dict[str, Any]] = [{"label": "source", "src": _first(paths, "source")}]
    for name, files in zip(eval_set.methods, paths, strict=True):
        row = scores[name, pair.id]
        values = {key: value for key, value in row.values.items() if value == value}
        src = files.get("edited", "")
        clips.append({"method": name, "src": src, "values": values, "notes": row.notes, "error": row.error})
    if pair.reference is not None:
        clips.append({"label": "true edit", "src": _first(paths, "reference")})
    texts = ("id", "task", "instruction", "input_caption", "output_caption")
    return {name: getattr(pair, name) for name in texts} | {"clips": clips}


def _first(paths: Sequence[Mapping[str, str]], name: str) -> str:
    return next((each[name] for each in paths if name in each), "")


def _rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row of the main table per column that has a value."""
    rows, failed = [], {row["method"] for row in summary["failed"]}
    for column in with_values(summary)[0]:
        digits = decimals([method[column.name]["mean"] for method in summary["methods"].values()])
        cells = []
        for name, method in summary["methods"].items():
            verdict = summary["against"].get(name, {}).get(column.name, {}).get("verdict", "tie")
            cells.append(_cell(method[column.name], digits, verdict, name in failed))
        published = summary["published"].get(column.name, {})
        rows.append(
            {
                "column": column,
                "arrow": ARROWS[column.better],
                "cells": cells,
                "published": " · ".join(f"{who} {value:g}" for who, value in published.items()),
            }
        )
    return rows


def _cell(values: Mapping[str, Any], digits: int, verdict: str, failed: bool) -> dict[str, str]:
    """Mean, interval, count and mark of a cell, as texts."""
    if not values["n"]:
        return {"mean": "–"}
    low, high = values["low"], values["high"]
    return {
        "mean": number(values["mean"], digits),
        "interval": "" if low is None or low != low else f"[{number(low, digits)}, {number(high, digits)}]",
        "count": "" if values["n"] == values["of"] else f"{values['n']}/{values['of']}",
        "count_class": "worse" if failed else "range",
        "verdict": verdict,
        "mark": MARKS.get(verdict, ""),
    }


def _task_rows(summary: Mapping[str, Any], method: str) -> list[list[str]]:
    tasks, rows = summary["data"]["tasks"], []
    for column in with_values(summary)[0]:
        values = summary["methods"][method][column.name]
        digits = decimals([values["mean"]])
        means = [number(values["tasks"][task]["mean"], digits) for task in tasks]
        rows.append([column.name, ARROWS[column.better], *means])
    return rows
