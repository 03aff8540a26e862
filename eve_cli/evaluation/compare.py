"""Compares two runs edit by edit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eve_cli.errors import InputError, UsageError
from eve_cli.evaluation import results
from eve_cli.evaluation.report import plots
from eve_cli.evaluation.results import EditScores, Results, plain
from eve_cli.evaluation.statistics import paired
from eve_cli.evaluation.summary import ARROWS, decimals, number, verdict
from eve_cli.storage.atomic import write_text


def open_run(spec: str) -> tuple[str, Results, str]:
    """`RUN` or `RUN:METHOD` as its name, the run's results, and the method; UsageError if there is no such method."""
    folder, method = (spec, "") if Path(spec).is_dir() else spec.rpartition(":")[::2]
    run = results.read(Path(folder or spec))
    if method and method not in run.rows:
        raise UsageError(f"{folder} has no method {method!r}; it has {', '.join(run.rows)}.")
    method = method or next(iter(run.rows))
    return f"{Path(folder or spec).name}:{method}", run, method


def compare(one: str, other: str, seed: int = 0) -> dict[str, Any]:
    """Compares the columns with the same recipe in both runs, over their common edits; InputError without any."""
    (name_a, a, method_a), (name_b, b, method_b) = open_run(one), open_run(other)
    rows_a = {row.id: row for row in a.rows[method_a]}
    rows_b = {row.id: row for row in b.rows[method_b]}
    shared = [name for name in rows_a if name in rows_b]
    if not shared:
        raise InputError(f"{one} and {other} have no edits in common.")
    columns_b = {column.name: column for column in b.columns}
    columns, skipped = {}, []
    for column in a.columns:
        match = columns_b.get(column.name)
        if match is None or match.recipe != column.recipe:
            skipped.append(f"{column.name}: {'not in' if match is None else 'another recipe in'} {name_b}")
            continue
        pairs = [(rows_a[i], rows_b[i]) for i in shared]
        if not any(all(map(math.isfinite, (x.values[column.name], y.values[column.name]))) for x, y in pairs):
            skipped.append(f"{column.name}: no edit has a value in both")
            continue
        tasks = {
            task: [pair for pair in pairs if pair[0].task == task] for task in dict.fromkeys(p[0].task for p in pairs)
        }
        total = _paired(pairs, column.name, column.better, seed)
        by_task = {task: _paired(edits, column.name, column.better, seed) for task, edits in tasks.items()}
        columns[column.name] = total | {"recipe": column.recipe, "better": column.better, "tasks": by_task}
    return {"one": name_a, "other": name_b, "edits": len(shared), "columns": columns, "skipped": skipped}


def _paired(pairs: list[tuple[EditScores, EditScores]], column: str, better: int, seed: int) -> dict[str, Any]:
    values = [[side.values.get(column, float("nan")) for side in pair] for pair in pairs]
    sign = better or 1
    both = paired([v[0] for v in values], [v[1] for v in values], [pair[0].video for pair in pairs], seed=seed)
    mean, low, high = both.difference
    wins, losses = (both.wins, both.losses) if sign > 0 else (both.losses, both.wins)
    share = (wins + both.ties / 2) / both.count if both.count else float("nan")
    values = (
        asdict(both) | {"p": both.p} | {"difference": [mean, low, high], "wins": wins, "losses": losses, "share": share}
    )
    return plain(values | {"n": both.count, "verdict": verdict(low, high, better)})


def markdown(comparison: Mapping[str, Any]) -> str:
    """The table of a comparison: mean difference with interval, share won, and the sign test over source videos."""
    lines = [
        f"{comparison['one']} minus {comparison['other']}, {comparison['edits']} edits\n",
        "| metric | | n | difference | 95 % interval | won | p (sign, videos) | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in comparison["columns"].items():
        mean, low, high = row["difference"]
        digits = decimals([mean, low, high])
        interval = "-" if low is None else f"[{number(low, digits)}, {number(high, digits)}]"
        won = "-" if row["share"] is None or not row["better"] else f"{row['share']:.0%}"
        lines.append(
            f"| {name} | {ARROWS[row['better']]} | {row['n']} | {number(mean, digits)} | {interval} | {won} "
            f"| {row['p']:.3g} | {row['verdict']} |"
        )
    if comparison["skipped"]:
        lines += ["", *(f"- not compared: {line}" for line in comparison["skipped"])]
    count = len(comparison["columns"])
    return "\n".join(
        [*lines, "", f"{count} columns: by chance alone, the intervals of about {count * 0.05:.1f} would exclude zero."]
    )


def write(folder: Path, comparison: Mapping[str, Any], one: str, other: str) -> None:
    """compare.json, compare.md, and a plot for each column."""
    folder.mkdir(parents=True, exist_ok=True)
    results.write_json(folder / "compare.json", comparison)
    write_text(folder / "compare.md", markdown(comparison) + "\n")
    (_, a, method_a), (_, b, method_b) = open_run(one), open_run(other)
    rows_b = {row.id: row for row in b.rows[method_b]}
    rows = [(row, rows_b[row.id]) for row in a.rows[method_a] if row.id in rows_b]
    for name in comparison["columns"]:
        values = [[side.values.get(name, float("nan")) for side in pair] for pair in rows]
        a_values, b_values = [v[0] for v in values], [v[1] for v in values]
        plots.write_comparison(folder / name, a_values, b_values, name, comparison["one"], comparison["other"])
