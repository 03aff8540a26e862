"""Two runs edit by edit."""

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


def opened(named: str) -> tuple[str, Results, str]:
    """`RUN` or `RUN:METHOD` as its name, the run's results, and the method; UsageError if there is no such method."""
    folder, method = (named, "") if Path(named).is_dir() else named.rpartition(":")[::2]
    found = results.read(Path(folder or named))
    if method and method not in found.rows:
        raise UsageError(f"{folder} has no method {method!r}; it has {', '.join(found.rows)}.")
    chosen = method or next(iter(found.rows))
    return f"{Path(folder or named).name}:{chosen}", found, chosen


def compare(one: str, other: str, seed: int = 0) -> dict[str, Any]:
    """The columns that both runs have by the same recipe, over the edits that both have; InputError without any."""
    (name_a, a, method_a), (name_b, b, method_b) = opened(one), opened(other)
    rows_a = {row.id: row for row in a.rows[method_a]}
    rows_b = {row.id: row for row in b.rows[method_b]}
    shared = [name for name in rows_a if name in rows_b]
    if not shared:
        raise InputError(f"{one} and {other} have no edit in common.")
    theirs = {column.name: column for column in b.columns}
    columns, skipped = {}, []
    for column in a.columns:
        match = theirs.get(column.name)
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
        whole = _paired(pairs, column.name, column.better, seed)
        by_task = {task: _paired(found, column.name, column.better, seed) for task, found in tasks.items()}
        columns[column.name] = whole | {"recipe": column.recipe, "better": column.better, "tasks": by_task}
    return {"one": name_a, "other": name_b, "edits": len(shared), "columns": columns, "skipped": skipped}


def _paired(pairs: list[tuple[EditScores, EditScores]], column: str, better: int, seed: int) -> dict[str, Any]:
    values = [[side.values.get(column, float("nan")) for side in pair] for pair in pairs]
    sign = better or 1
    found = paired([v[0] for v in values], [v[1] for v in values], [pair[0].video for pair in pairs], seed=seed)
    mean, low, high = found.difference
    wins, losses = (found.wins, found.losses) if sign > 0 else (found.losses, found.wins)
    share = (wins + found.ties / 2) / found.count if found.count else float("nan")
    told = asdict(found) | {"difference": [mean, low, high], "wins": wins, "losses": losses, "share": share}
    return plain(told | {"n": found.count, "verdict": verdict(low, high, better)})


def markdown(told: Mapping[str, Any]) -> str:
    """The table of a comparison: mean difference with interval, share won, and the sign test over source videos."""
    lines = [
        f"{told['one']} minus {told['other']}, {told['edits']} edits\n",
        "| metric | | n | difference | 95 % interval | won | p (sign, videos) | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in told["columns"].items():
        mean, low, high = found["difference"]
        digits = decimals([mean, low, high])
        interval = "-" if low is None else f"[{number(low, digits)}, {number(high, digits)}]"
        won = "-" if found["share"] is None or not found["better"] else f"{found['share']:.0%}"
        lines.append(
            f"| {name} | {ARROWS[found['better']]} | {found['n']} | {number(mean, digits)} | {interval} | {won} "
            f"| {found['p']:.3g} | {found['verdict']} |"
        )
    if told["skipped"]:
        lines += ["", *(f"- not compared: {line}" for line in told["skipped"])]
    count = len(told["columns"])
    return "\n".join(
        [*lines, "", f"{count} columns: about {count * 0.05:.1f} of them would be clear of zero by chance."]
    )


def write(folder: Path, told: Mapping[str, Any], one: str, other: str) -> None:
    """compare.json, compare.md, and a plot for each column."""
    folder.mkdir(parents=True, exist_ok=True)
    results.write_json(folder / "compare.json", told)
    write_text(folder / "compare.md", markdown(told) + "\n")
    (_, a, method_a), (_, b, method_b) = opened(one), opened(other)
    theirs = {row.id: row for row in b.rows[method_b]}
    rows = [(row, theirs[row.id]) for row in a.rows[method_a] if row.id in theirs]
    for name in told["columns"]:
        values = [[side.values.get(name, float("nan")) for side in pair] for pair in rows]
        a_values, b_values = [v[0] for v in values], [v[1] for v in values]
        plots.write_comparison(folder / name, a_values, b_values, name, told["one"], told["other"])
