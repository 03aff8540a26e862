"""What a run says: means with intervals, one method against another, warnings, and the table that people read."""

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
# Columns by which smooth clips win, and those that say whether the text was followed.
SMOOTH = ("clip_frame", "world_clip_frame")
TEXT = ("clip_text", "viclip_out", "pick_score", "world_clip_text", "world_viclip_out")


def summarise(
    asked: EvalSet, results: Results, not_run: Mapping[str, str], seed: int = 0, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """All that summary.json holds; every number comes from the rows, by source video."""
    methods = {name: _method(results, name, seed) for name in results.rows}
    first = next(iter(results.rows))
    against = {name: _against(results, name, first, seed) for name in results.rows if name != first}
    return {
        "format": 1,
        "data": {
            "name": asked.name,
            "whole": asked.whole,
            "edits": len(asked.pairs),
            "videos": len({pair.video for pair in asked.pairs}),
            "tasks": results.tasks,
            "notes": [*asked.notes, *notes],
        },
        "columns": [described(column) for column in results.columns],
        "methods": methods,
        "reference": first,
        "against": against,
        "published": _published(asked, results, methods),
        "not_run": dict(not_run),
        "warnings": warnings(results, seed),
        "failed": [{"method": row.method, "id": row.id, "reason": row.error} for row in results.failed],
    }


def _method(results: Results, method: str, seed: int) -> dict[str, Any]:
    found = {}
    for column in results.columns:
        values, videos = results.values(method, column.name), results.videos(method)
        tasks = {}
        for task in results.tasks:
            picked = [i for i, row in enumerate(results.rows[method]) if row.task == task]
            tasks[task] = _cell([values[i] for i in picked], [videos[i] for i in picked], seed)
        found[column.name] = _cell(values, videos, seed) | {"tasks": tasks}
    return found


def _cell(values: Sequence[float], videos: Sequence[str], seed: int) -> dict[str, Any]:
    mean, low, high = bootstrap(values, videos, seed=seed)
    return {"n": sum(map(math.isfinite, values)), "of": len(values), "mean": mean, "low": low, "high": high}


def _against(results: Results, method: str, first: str, seed: int) -> dict[str, Any]:
    found = {}
    for column in results.columns:
        name = column.name
        both = paired(results.values(method, name), results.values(first, name), results.videos(method), seed=seed)
        mean, low, high = both.difference
        found[name] = {"mean": mean, "low": low, "high": high, "verdict": verdict(low, high, column.better)}
    return found


def verdict(low: float, high: float, better: int) -> str:
    """Whether a difference whose interval is clear of zero is `better` or `worse`; else `tie`."""
    if not better or not (low > 0 or high < 0):
        return "tie"
    return "better" if (low > 0) == (better > 0) else "worse"


def _published(asked: EvalSet, results: Results, methods: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Published values of the same recipe on the same data; only where nothing is missing."""
    data, found = asked.name.lower(), {}
    for column in results.columns:
        complete = all(method[column.name]["n"] == method[column.name]["of"] for method in methods.values())
        if asked.whole and complete and data in column.anchors:
            found[column.name] = dict(column.anchors[data])
    return found


def warnings(results: Results, seed: int = 0) -> list[str]:
    """What a reader might overlook: methods that follow the text no better than the input does, and missing rows."""
    found = []
    names = [column.name for column in results.columns]
    for method in [name for name in results.rows if COPIED in results.rows and name != COPIED]:
        for name in (text for text in TEXT if text in names):
            both = paired(results.values(method, name), results.values(COPIED, name), results.videos(method), seed=seed)
            if both.count and not both.difference.low > 0:
                smooth = [name for name in SMOOTH if name in names]
                tail = f"; read {', '.join(smooth)} with that in mind" if smooth else ""
                found.append(f"{method}: {name} is not clearly above that of the input copied{tail}.")
    for method, rows in results.rows.items():
        for name in (name for name in names if name.endswith("_unchanged") and method != COPIED):
            if count := sum(value > 0 for value in results.values(method, name)):
                found.append(f"{method}: {count} of {len(rows)} edits count as 0 in {name[:-10]}_dir: unchanged.")
        if count := sum(bool(row.error) for row in rows):
            found.append(f"{method}: {count} of {len(rows)} edits could not be judged (wholly); means are of the rest.")
    return found


def markdown(told: Mapping[str, Any], tasks: bool = True) -> str:
    """The tables of summary.md: all methods beside each other, then with `tasks` each method by task."""
    columns, empty = with_values(told)
    data, parts = told["data"], []
    parts.append(f"{data['name']}: {data['edits']} edits of {data['videos']} videos\n")
    parts.append(_overall(told, columns))
    if told["against"]:
        parts.append(f"\n▲ better, ▼ worse than {told['reference']}: the paired difference is clear of zero.")
    parts.append("Means with 95 % intervals (bootstrap over source videos).")
    if empty:
        parts.append(f"Without any value here: {', '.join(empty)}.")
    if tasks and len(data["tasks"]) > 1:
        parts += [f"\n### {name} by task\n\n{_by_task(told, name, columns)}" for name in told["methods"]]
    for title, lines in (
        ("Warnings", told["warnings"]),
        ("Not run", [f"not run: {line}" for line in not_run(told)]),
        ("Not judged", [f"{row['method']} {row['id']}: {row['reason']}" for row in told["failed"][:20]]),
    ):
        if lines:
            parts.append(f"\n### {title}\n\n" + "\n".join(f"- {line}" for line in lines))
    return "\n".join(parts) + "\n"


def with_values(told: Mapping[str, Any]) -> tuple[list[Column], list[str]]:
    """The columns in which any method has a value, and the names of the others."""
    columns = [Column(**column) for column in told["columns"]]
    full = [column for column in columns if any(method[column.name]["n"] for method in told["methods"].values())]
    return full, [column.name for column in columns if column not in full]


def not_run(told: Mapping[str, Any]) -> list[str]:
    """A line for each reason why metrics did not run."""
    reasons: dict[str, list[str]] = {}
    for name, reason in told["not_run"].items():
        reasons.setdefault(reason, []).append(name)
    return [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]


def _overall(told: Mapping[str, Any], columns: Sequence[Column]) -> str:
    published = any(told["published"].values())
    head = ["metric", "recipe", "", *told["methods"], *(["published"] if published else [])]
    lines = [_line(head), _line(["---"] * len(head))]
    for column in columns:
        digits = decimals([method[column.name]["mean"] for method in told["methods"].values()])
        cells = []
        for name, method in told["methods"].items():
            mark = told["against"].get(name, {}).get(column.name, {}).get("verdict", "tie")
            cells.append(cell(method[column.name], digits) + MARKS[mark])
        others = " · ".join(f"{who} {value:g}" for who, value in told["published"].get(column.name, {}).items())
        lines.append(
            _line([column.name, column.recipe, ARROWS[column.better], *cells, *([others] if published else [])])
        )
    return "\n".join(lines)


def _by_task(told: Mapping[str, Any], method: str, columns: Sequence[Column]) -> str:
    tasks = told["data"]["tasks"]
    lines = [_line(["metric", "", *(task or "-" for task in tasks)]), _line(["---"] * (len(tasks) + 2))]
    for column in columns:
        found = told["methods"][method][column.name]
        digits = decimals([found["mean"]])
        means = [number(found["tasks"][task]["mean"], digits) for task in tasks]
        lines.append(_line([column.name, ARROWS[column.better], *means]))
    return "\n".join(lines)


def cell(found: Mapping[str, Any], digits: int) -> str:
    """`0.922 [0.918, 0.926]`, with `12/20` behind it where some edits have no value."""
    if not found["n"]:
        return "-"
    text = number(found["mean"], digits)
    if _is_number(found["low"]):
        text += f" [{number(found['low'], digits)}, {number(found['high'], digits)}]"
    return text if found["n"] == found["of"] else f"{text} {found['n']}/{found['of']}"


def number(value: float | None, digits: int) -> str:
    """A value with so many decimals; a dash for none."""
    return f"{value:.{digits}f}" if _is_number(value) else "-"


def decimals(values: Sequence[float | None]) -> int:
    """How many decimals tell values of this size apart: about four digits in all."""
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0)
    return 3 if largest == 0 else min(6, max(1, 3 - math.floor(math.log10(largest))))


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|").replace("\n", " ") for text in cells) + " |"
