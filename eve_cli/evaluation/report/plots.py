"""The plots of a run: bars by task, edit against preservation, and one run against another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eve_cli.evaluation.report.canvas import COLOURS, FAINT, INK, Canvas
from eve_cli.evaluation.results import Results
from eve_cli.evaluation.statistics import cluster_bootstrap
from eve_cli.evaluation.summary import decimals, number

FOLDER = "plots"
BETTER = {1: "higher is better", -1: "lower is better", 0: ""}
LEFT, TOP, BOTTOM, PLOT = 62, 44, 34, 180  # room around the axes, and their height, in units
# Columns of which the first that a run has is an axis: how much of the edit is made, and how much is left alone.
EDIT = ("edit_acc", "viclip_dir", "world_viclip_dir", "clip_text", "change_in", "change_all")
KEY = (
    "success",
    "edit_acc",
    "pick_score",
    "viclip_dir",
    "viclip_out",
    "clip_text",
    "clip_frame",
    "rest_psnr",
    "warp_own",
)
PRESERVATION = ("bg_psnr", "kept_psnr", "rest_psnr")


def write(folder: Path, told: Mapping[str, Any], results: Results) -> list[str]:
    """All plots of a run; their names without ending, the scatter first, then the key columns."""
    home = folder / FOLDER
    home.mkdir(exist_ok=True)
    columns = sorted(told["columns"], key=lambda c: KEY.index(c["name"]) if c["name"] in KEY else len(KEY))
    drawn = {"edit-preservation": trade(results), **{c["name"]: bars(told, c) for c in columns}}
    names = []
    for name, canvas in drawn.items():
        if canvas is not None:
            canvas.save(home / name)
            names.append(name)
    return names


class Axis:
    """Values along a length of units, with round ticks."""

    def __init__(self, values: Sequence[float], start: float, end: float, zero: bool = False) -> None:
        low, high = min(values), max(values)
        low, high = (min(low, 0.0), max(high, 0.0)) if zero else (low, high)
        high = 1.0 if zero and low == high else high
        room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
        self.low = low if zero and low == 0 else low - room
        self.high = high if zero and high == 0 else high + room
        self.start, self.end = start, end

    def at(self, value: float) -> float:
        """Where a value lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Between three and seven round values."""
        rough = (self.high - self.low) / 5
        power = 10 ** math.floor(math.log10(rough))
        step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough)
        return [k * step for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def bars(told: Mapping[str, Any], column: Mapping[str, Any]) -> Canvas | None:
    """A column by task, a bar a method, with intervals; None if it has no value."""
    name, methods = column["name"], list(told["methods"])
    groups = {"all": {m: told["methods"][m][name] for m in methods}}
    tasks = told["data"]["tasks"]
    groups |= {t or "-": {m: told["methods"][m][name]["tasks"][t] for m in methods} for t in tasks if len(tasks) > 1}
    ends = [c[k] for g in groups.values() for c in g.values() for k in ("mean", "low", "high") if _finite(c[k])]
    if not ends:
        return None
    wide = max(9.0, 34.0 / len(methods))
    width = LEFT + len(groups) * (len(methods) * wide + 18) + 12
    canvas = Canvas(max(width, 420), TOP + PLOT + BOTTOM + 18)
    axis = Axis(ends, TOP + PLOT, TOP, zero=True)
    _title(canvas, " · ".join(filter(None, (name, column["recipe"], BETTER[column["better"]]))), methods)
    _grid(canvas, axis, vertical=False)
    x = LEFT + 10.0
    for group, cells in groups.items():
        canvas.text(x + len(methods) * wide / 2, TOP + PLOT + 14, group, "middle", 10)
        for i, method in enumerate(methods):
            cell, left = cells[method], x + i * wide
            if _finite(cell["mean"]):
                base = axis.at(max(axis.low, min(axis.high, 0.0)))
                canvas.bar(left, base, wide - 2, axis.at(cell["mean"]) - base, COLOURS[i % len(COLOURS)])
            if _finite(cell["low"]):
                middle = left + wide / 2 - 1
                canvas.line(middle, axis.at(cell["low"]), middle, axis.at(cell["high"]))
        x += len(methods) * wide + 18
    return canvas


def trade(results: Results) -> Canvas | None:
    """Every edit that has both values, and their means with intervals: what is edited against what is left alone."""
    columns = [column.name for column in results.columns]
    names = [
        name for name in columns if any(_finite(v) for method in results.rows for v in results.values(method, name))
    ]
    edit = next((name for name in EDIT if name in names), None)
    keep = next((name for name in PRESERVATION if name in names), None)
    if edit is None or keep is None:
        return None
    points = {
        method: [
            (x, y, row)
            for x, y, row in zip(results.values(method, keep), results.values(method, edit), rows, strict=True)
            if _finite(x) and _finite(y)
        ]
        for method, rows in results.rows.items()
    }
    every = [point for found in points.values() for point in found]
    if not every:
        return None
    low, right, backwards = TOP + PLOT, 500, list(reversed(list(enumerate(points.items()))))  # the first on top
    canvas = Canvas(right + 10, low + BOTTOM + 18)
    x_axis, y_axis = Axis([p[0] for p in every], LEFT, right), Axis([p[1] for p in every], low, TOP)
    _title(canvas, f"{edit} against {keep}", list(points))
    _grid(canvas, x_axis, vertical=True, low=low)
    _grid(canvas, y_axis, vertical=False, right=right)
    canvas.text((LEFT + right) / 2, low + 30, keep, "middle")
    for i, (method, found) in backwards:
        for x, y, row in found:
            canvas.dot(x_axis.at(x), y_axis.at(y), 2, COLOURS[i % len(COLOURS)], f"{method} {row.id}")
    for i, (method, found) in backwards:
        if found:
            videos = [row.video for _, _, row in found]
            x, y = (cluster_bootstrap(of, videos) for of in ([p[0] for p in found], [p[1] for p in found]))
            if _finite(x.low) and _finite(y.low):
                canvas.line(x_axis.at(x.low), y_axis.at(y.mean), x_axis.at(x.high), y_axis.at(y.mean))
                canvas.line(x_axis.at(x.mean), y_axis.at(y.low), x_axis.at(x.mean), y_axis.at(y.high))
            canvas.dot(x_axis.at(x.mean), y_axis.at(y.mean), 6, INK)
            canvas.dot(x_axis.at(x.mean), y_axis.at(y.mean), 5, COLOURS[i % len(COLOURS)], method)
    return canvas


def against(a: Sequence[float], b: Sequence[float], name: str, one: str, other: str) -> Canvas | None:
    """A dot an edit, one run's value over the other's; on the line both are equal."""
    points = [(x, y) for x, y in zip(a, b, strict=True) if _finite(x) and _finite(y)]
    if not points:
        return None
    canvas = Canvas(420, 420)
    values = [value for point in points for value in point]
    x_axis, y_axis = Axis(values, LEFT, 400), Axis(values, 370, TOP)
    _title(canvas, name, [])
    _grid(canvas, x_axis, vertical=True, low=370)
    _grid(canvas, y_axis, vertical=False, right=400)
    canvas.line(x_axis.at(x_axis.low), y_axis.at(x_axis.low), x_axis.at(x_axis.high), y_axis.at(x_axis.high), INK)
    for x, y in points:
        canvas.dot(x_axis.at(y), y_axis.at(x), 3, COLOURS[0])
    canvas.text(230, 406, other, "middle")
    canvas.text(LEFT, 32, f"{one} (upwards)")
    return canvas


def _title(canvas: Canvas, text: str, methods: Sequence[str]) -> None:
    canvas.text(10, 14, text, size=13)
    x = 10.0
    for i, method in enumerate(methods):
        canvas.bar(x, 27, 8, 8, COLOURS[i % len(COLOURS)])
        canvas.text(x + 12, 31, method, size=10)
        x += 26 + 5.6 * len(method)


def _grid(canvas: Canvas, axis: Axis, vertical: bool, low: float = TOP + PLOT, right: float = 0) -> None:
    digits = decimals([axis.ticks()[1] - axis.ticks()[0]]) - 3 if len(axis.ticks()) > 1 else 2
    for value in axis.ticks():
        at, label = axis.at(value), number(value, max(0, digits))
        if vertical:
            canvas.line(at, TOP, at, low, FAINT)
            canvas.text(at, low + 12, label, "middle", 10)
        else:
            canvas.line(LEFT, at, right or canvas.width - 8, at, FAINT)
            canvas.text(LEFT - 6, at, label, "end", 10)


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
