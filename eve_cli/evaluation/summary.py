"""The summary of a run: means with intervals, methods against each other, warnings, and the Markdown table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from eve_cli.evaluation.metrics.base import Column
from eve_cli.evaluation.results import Results, described
from eve_cli.evaluation.sets import COPIED, EvalSet
from eve_cli.evaluation.statistics import bootstrap, paired

ARROWS = {1: "↑", -1: "↓", 0: " "}
MARKS = {"better": " ▲", "worse": " ▼", "tie": ""}
# Columns that favour smooth clips, and columns that measure whether the text was followed.
SMOOTH = ("clip_frame", "world_clip_frame")
TEXT = ("clip_text", "viclip_out", "pick_score", "world_clip_text", "world_viclip_out")


def summarise(
    eval_set: EvalSet, results: Results, not_run: Mapping[str, str], seed: int = 0, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """The contents of summary.json, computed from the scores of each edit."""
    methods = {name: _method(results, name, seed) for name in results.rows}
    first = next(iter(results.rows))
    against = {name: _against(results, name, first, seed) for name in results.rows if name != first}
    return {
        "format": 1,
        "data": {
            "name": eval_set.name,
            "whole": eval_set.whole,
            "edits": len(eval_set.pairs),
            "videos": len({pair.video for pair in eval_set.pairs}),
            "tasks": results.tasks,
            "notes": [*eval_set.notes, *notes],
        },
        "columns": [described(column) for column in results.columns],
        "methods": methods,
        "reference": first,
        "against": against,
        "published": _published(eval_set, results, methods),
        "not_run": dict(not_run),
        "warnings": warnings(results, seed),
        "failed": [{"method": row.method, "id": row.id, "reason": row.error} for row in results.failed],
    }


def _method(results: Results, method: str, seed: int) -> dict[str, Any]:
    cells = {}
    for column in results.columns:
        values, videos = results.values(method, column.name), results.videos(method)
        tasks = {}
        for task in results.tasks:
            picked = [i for i, row in enumerate(results.rows[method]) if row.task == task]
            tasks[task] = _cell([values[i] for i in picked], [videos[i] for i in picked], seed)
        cells[column.name] = _cell(values, videos, seed) | {"tasks": tasks}
    return cells


def _cell(values: Sequence[float], videos: Sequence[str], seed: int) -> dict[str, Any]:
    mean, low, high = bootstrap(values, videos, seed=seed)
    return {"n": sum(map(math.isfinite, values)), "of": len(values), "mean": mean, "low": low, "high": high}


def _against(results: Results, method: str, first: str, seed: int) -> dict[str, Any]:
    values = {}
    for column in results.columns:
        name = column.name
        both = paired(results.values(method, name), results.values(first, name), results.videos(method), seed=seed)
        mean, low, high = both.difference
        values[name] = {"mean": mean, "low": low, "high": high, "verdict": verdict(low, high, column.better)}
    return values


def verdict(low: float, high: float, better: int) -> str:
    """`better` or `worse` for a difference whose interval excludes zero; else `tie`."""
    if not better or not (low > 0 or high < 0):
        return "tie"
    return "better" if (low > 0) == (better > 0) else "worse"


def _published(eval_set: EvalSet, results: Results, methods: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Published values of the same recipe on the same complete data; only where no value is missing."""
    data, values = eval_set.name.lower(), {}
    for column in results.columns:
        complete = all(method[column.name]["n"] == method[column.name]["of"] for method in methods.values())
        if eval_set.whole and complete and data in column.anchors:
            values[column.name] = dict(column.anchors[data])
    return values


def warnings(results: Results, seed: int = 0) -> list[str]:
    """Warnings: methods that follow the text no better than the copied input, unchanged clips, and failed edits."""
    lines = []
    names = [column.name for column in results.columns]
    for method in [name for name in results.rows if COPIED in results.rows and name != COPIED]:
        for name in (text for text in TEXT if text in names):
            both = paired(results.values(method, name), results.values(COPIED, name), results.videos(method), seed=seed)
            if both.count and not both.difference.low > 0:
                smooth = [name for name in SMOOTH if name in names]
                tail = f"; {', '.join(smooth)} may only reward smooth clips" if smooth else ""
                lines.append(f"{method}: {name} is not clearly above that of the copied input{tail}.")
    for method, rows in results.rows.items():
        for name in (name for name in names if name.endswith("_unchanged") and method != COPIED):
            if count := sum(value > 0 for value in results.values(method, name)):
                lines.append(f"{method}: {count} of {len(rows)} edits count as 0 in {name[:-10]}_dir: unchanged.")
        if count := sum(bool(row.error) for row in rows):
            lines.append(
                f"{method}: {count} of {len(rows)} edits could not be scored completely; means are over the rest."
            )
    return lines


def markdown(summary: Mapping[str, Any], tasks: bool = True) -> str:
    """The tables of summary.md: all methods side by side, then, with `tasks`, each method by task."""
    columns, empty = with_values(summary)
    data, parts = summary["data"], []
    parts.append(f"{data['name']}: {data['edits']} edits of {data['videos']} videos\n")
    parts.append(_overall(summary, columns))
    if summary["against"]:
        parts.append(
            f"\n▲ better, ▼ worse than {summary['reference']}: the interval of the paired difference excludes zero."
        )
    parts.append("Means with 95 % intervals (bootstrap over source videos).")
    if empty:
        parts.append(f"No values for: {', '.join(empty)}.")
    if tasks and len(data["tasks"]) > 1:
        parts += [f"\n### {name} by task\n\n{_by_task(summary, name, columns)}" for name in summary["methods"]]
    for title, lines in (
        ("Warnings", summary["warnings"]),
        ("Not run", [f"not run: {line}" for line in not_run(summary)]),
        ("Failed", [f"{row['method']} {row['id']}: {row['reason']}" for row in summary["failed"][:20]]),
    ):
        if lines:
            parts.append(f"\n### {title}\n\n" + "\n".join(f"- {line}" for line in lines))
    return "\n".join(parts) + "\n"


def with_values(summary: Mapping[str, Any]) -> tuple[list[Column], list[str]]:
    """The columns in which any method has a value, and the names of the others."""
    columns = [Column(**column) for column in summary["columns"]]
    full = [column for column in columns if any(method[column.name]["n"] for method in summary["methods"].values())]
    return full, [column.name for column in columns if column not in full]


def not_run(summary: Mapping[str, Any]) -> list[str]:
    """A line for each reason why metrics did not run."""
    reasons: dict[str, list[str]] = {}
    for name, reason in summary["not_run"].items():
        reasons.setdefault(reason, []).append(name)
    return [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]


def _overall(summary: Mapping[str, Any], columns: Sequence[Column]) -> str:
    published = any(summary["published"].values())
    head = ["metric", "recipe", "", *summary["methods"], *(["published"] if published else [])]
    lines = [_line(head), _line(["---"] * len(head))]
    for column in columns:
        digits = decimals([method[column.name]["mean"] for method in summary["methods"].values()])
        cells = []
        for name, method in summary["methods"].items():
            mark = summary["against"].get(name, {}).get(column.name, {}).get("verdict", "tie")
            cells.append(cell(method[column.name], digits) + MARKS[mark])
        published_values = " · ".join(
            f"{who} {value:g}" for who, value in summary["published"].get(column.name, {}).items()
        )
        lines.append(
            _line(
                [column.name, column.recipe, ARROWS[column.better], *cells, *([published_values] if published else [])]
            )
        )
    return "\n".join(lines)


def _by_task(summary: Mapping[str, Any], method: str, columns: Sequence[Column]) -> str:
    tasks = summary["data"]["tasks"]
    lines = [_line(["metric", "", *(task or "-" for task in tasks)]), _line(["---"] * (len(tasks) + 2))]
    for column in columns:
        values = summary["methods"][method][column.name]
        digits = decimals([values["mean"]])
        means = [number(values["tasks"][task]["mean"], digits) for task in tasks]
        lines.append(_line([column.name, ARROWS[column.better], *means]))
    return "\n".join(lines)


def cell(values: Mapping[str, Any], digits: int) -> str:
    """`0.922 [0.918, 0.926]`, followed by `12/20` where some edits have no value."""
    if not values["n"]:
        return "-"
    text = number(values["mean"], digits)
    if _is_number(values["low"]):
        text += f" [{number(values['low'], digits)}, {number(values['high'], digits)}]"
    return text if values["n"] == values["of"] else f"{text} {values['n']}/{values['of']}"


def number(value: float | None, digits: int) -> str:
    """A value with so many decimals; a dash for none."""
    return f"{value:.{digits}f}" if _is_number(value) else "-"


def decimals(values: Sequence[float | None]) -> int:
    """The number of decimals for about four significant digits."""
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0)
    return 3 if largest == 0 else min(6, max(1, 3 - math.floor(math.log10(largest))))


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|").replace("\n", " ") for text in cells) + " |"
