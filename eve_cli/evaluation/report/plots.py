"""Plots of a run with matplotlib (extra `eval`): bars by task, edit against preservation, one run against another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from eve_cli.evaluation.results import Results
from eve_cli.evaluation.statistics import bootstrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER = "plots"
NOT_INSTALLED = "Plots need matplotlib: pip install 'eve-cli[eval]'."
BETTER = {1: "higher is better", -1: "lower is better", 0: ""}
COLOURS = ("#3366aa", "#dd8833", "#449966", "#aa4466", "#8866bb", "#777777", "#bbaa22", "#33aabb")
# The same bytes each time, text as text, and names of methods never read as formulas.
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "eve",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 8,
    "axes.titlesize": 9,
    "legend.title_fontsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e2e2e2",
}
METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}
# Of each list, the first column that a run has is an axis: amount of the edit, and preservation.
EDIT = ("edit_acc", "viclip_dir", "world_viclip_dir", "clip_text", "change_in", "change_all")
PRESERVATION = ("bg_psnr", "kept_psnr", "rest_psnr")
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


def available() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def write(folder: Path, summary: Mapping[str, Any], results: Results) -> list[str]:
    """Writes all plots of a run as SVG and PNG; returns their names, the scatter plot first, then the key columns.

    Without matplotlib it writes none.
    """
    if not available():
        return []
    plots_dir = folder / FOLDER
    plots_dir.mkdir(exist_ok=True)
    columns = sorted(summary["columns"], key=lambda c: KEY.index(c["name"]) if c["name"] in KEY else len(KEY))
    names = []
    with _style():
        figures = {"edit-preservation": trade_off(results), **{c["name"]: bars(summary, c) for c in columns}}
        for name, figure in figures.items():
            if figure is not None:
                save(figure, plots_dir / name)
                names.append(name)
    return names


def write_comparison(path: Path, a: Sequence[float], b: Sequence[float], title: str, one: str, other: str) -> None:
    """Writes path.svg and path.png with a point per edit, run `one` over run `other`; nothing without matplotlib."""
    points = [(x, y) for x, y in zip(b, a, strict=True) if math.isfinite(x) and math.isfinite(y)]
    if not points or not available():
        return
    with _style():
        figure, axes = _figure(420, 420)
        x, y = zip(*points, strict=True)
        axes.axline((min(*x, *y),) * 2, slope=1, color="#222222", linewidth=0.8)
        axes.scatter(x, y, s=12, color=COLOURS[0])
        axes.set(title=title, xlabel=other, ylabel=one)
        save(figure, path)


def bars(summary: Mapping[str, Any], column: Mapping[str, Any]) -> Figure | None:
    """A column by task, one bar per method, with intervals; None if it has no value."""
    name, methods, tasks = column["name"], list(summary["methods"]), summary["data"]["tasks"]
    groups = {"all": [summary["methods"][m][name] for m in methods]}
    if len(tasks) > 1:
        groups |= {task or "-": [summary["methods"][m][name]["tasks"][task] for m in methods] for task in tasks}
    if not any(_finite(cell["mean"]) for cells in groups.values() for cell in cells):
        return None
    figure, axes = _figure(max(510, 90 + len(groups) * (len(methods) * max(9, 34 / len(methods)) + 18)), 260)
    width = 0.8 / len(methods)
    for i, method in enumerate(methods):
        cells = [cells[i] for cells in groups.values()]
        x = [n + (i - (len(methods) - 1) / 2) * width for n in range(len(groups))]
        axes.bar(x, [_value(c["mean"]) for c in cells], width * 0.92, color=_colour(i), label=method)
        axes.vlines(x, [_value(c["low"]) for c in cells], [_value(c["high"]) for c in cells], "#222222", linewidth=0.8)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.grid(visible=False, axis="x")
    axes.axhline(0, color="#222222", linewidth=0.6)
    _legend(axes, " · ".join(filter(None, (name, column["recipe"], BETTER[column["better"]]))), len(methods))
    return figure


def trade_off(results: Results) -> Figure | None:
    """The first edit metric over the first preservation metric: a point per edit, means with intervals; or None."""
    names = [column.name for column in results.columns]
    names = [n for n in names if any(_finite(v) for method in results.rows for v in results.values(method, n))]
    edit = next((name for name in EDIT if name in names), None)
    preserved = next((name for name in PRESERVATION if name in names), None)
    if edit is None or preserved is None:
        return None
    figure, axes = _figure(510, 260)
    for i, (method, rows) in enumerate(results.rows.items()):
        both = zip(results.values(method, preserved), results.values(method, edit), rows, strict=True)
        points = [(x, y, row.video) for x, y, row in both if _finite(x) and _finite(y)]
        if not points:
            continue
        xs, ys, videos = zip(*points, strict=True)
        front = len(results.rows) - i  # the first method on top
        axes.scatter(xs, ys, s=5, color=_colour(i), alpha=0.7, zorder=2 + front)
        x, y = bootstrap(xs, videos), bootstrap(ys, videos)
        axes.hlines(y.mean, x.low, x.high, "#222222", linewidth=0.8, zorder=20 + front)
        axes.vlines(x.mean, y.low, y.high, "#222222", linewidth=0.8, zorder=20 + front)
        axes.scatter(x.mean, y.mean, s=50, color=_colour(i), edgecolors="#222222", label=method, zorder=40 + front)
    axes.set(xlabel=preserved, ylabel=edit)
    if not axes.get_legend_handles_labels()[0]:
        return None
    _legend(axes, f"{edit} against {preserved}", len(results.rows))
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes path.svg and path.png; `path` has no suffix."""
    figure.savefig(path.with_name(f"{path.name}.svg"), metadata=METADATA)
    figure.savefig(path.with_name(f"{path.name}.png"), dpi=144)


def inline_svg(path: Path) -> str:
    """The `<svg>` element of an SVG file, without what only a file of its own needs."""
    text = path.read_text(encoding="utf-8")
    return text[text.index("<svg") :].replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of so many points."""
    from matplotlib.figure import Figure

    figure = Figure((width / 72, height / 72), layout="constrained")
    return figure, figure.add_subplot()


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(cast(Any, STYLE)):
        yield


def _legend(axes: Axes, title: str, methods: int) -> None:
    columns, place = min(methods, 4), "outside upper left"
    axes.figure.legend(title=title, alignment="left", loc=place, ncols=columns, frameon=False)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _value(value: float | None) -> float:
    return math.nan if value is None else value


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
