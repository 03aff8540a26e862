"""The page of a run: one HTML file that fetches nothing, beside its small videos."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from eve_cli.evaluation.pairs import Pair
from eve_cli.evaluation.report.plots import FOLDER
from eve_cli.evaluation.results import PAGE, Results, Row, plain
from eve_cli.evaluation.sets import EvalSet
from eve_cli.evaluation.summary import ARROWS, decimals, not_run, number, with_values
from eve_cli.storage.atomic import write_text

Shown = Mapping[tuple[str, str], Mapping[str, str]]  # (method, id) -> source, edited, reference -> address
FIRST_PLOTS = 4
SORT = ("edit_acc", "viclip_dir", "world_viclip_dir", "clip_text", "rest_psnr")  # the first that a run has


def write(
    folder: Path, told: Mapping[str, Any], asked: EvalSet, results: Results, shown: Shown, plots: Sequence[str]
) -> Path:
    """Writes index.html into a run's folder."""
    data = told["data"]
    size = f"{data['edits']} edits of {data['videos']} videos · {len(told['methods'])} methods"
    facts = f"{size} · means with 95 % intervals"
    parts = {
        "title": escape(f"Evaluation: {data['name']}"),
        "facts": escape(" · ".join([facts, *data["notes"]])),
        "warnings": boxes(told["warnings"], "box warn"),
        "table": _overall(told),
        "tasks": "".join(_by_task(told, name) for name in told["methods"]) if len(data["tasks"]) > 1 else "",
        "notrun": _folded("Not run", boxes(not_run(told), "box")),
        "plots": _plots(folder, plots),
        "data": as_script(_data(told, asked, results, shown)),
    }
    write_text(folder / PAGE, filled("page.html", parts))
    return folder / PAGE


def filled(name: str, parts: Mapping[str, str]) -> str:
    """A page of this package with its parts in place, and with what all pages share."""
    home = files("eve_cli.evaluation.report")

    def read(file: str) -> str:
        return home.joinpath(file).read_text(encoding="utf-8")

    every = {**parts, "style": read("page.css"), "clock": read("clock.js")}
    return re.sub(r"{{(\w+)}}", lambda found: every[found[1]], read(name))


def as_script(data: Any) -> str:
    """JSON for a script of a page, which no text in it can end."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def _data(told: Mapping[str, Any], asked: EvalSet, results: Results, shown: Shown) -> dict[str, Any]:
    rows = {(name, row.id): row for name, found in results.rows.items() for row in found}
    names = [column["name"] for column in told["columns"]]
    columns = [{key: column[key] for key in ("name", "recipe", "better", "help")} for column in told["columns"]]
    edits = [_edit(asked, number, rows, shown) for number in range(len(asked.pairs))]
    sort = next((name for name in SORT if name in names), names[0] if names else "")
    methods = list(results.rows)
    return plain({"columns": columns, "methods": methods, "tasks": results.tasks, "sort": sort, "edits": edits})


def _edit(asked: EvalSet, number: int, rows: Mapping[tuple[str, str], Row], shown: Shown) -> dict[str, Any]:
    pair: Pair = asked.pairs[number]
    own = [shown.get((name, pair.id), {}) for name in asked.methods]
    clips: list[dict[str, Any]] = [{"label": "source", "src": _first(own, "source")}]
    for name, addresses in zip(asked.methods, own, strict=True):
        row = rows[name, pair.id]
        clips.append(
            {
                "method": name,
                "src": addresses.get("edited", ""),
                "values": {key: value for key, value in row.values.items() if value == value},
                "notes": row.notes,
                "error": row.error,
            }
        )
    if pair.reference is not None:
        clips.append({"label": "true edit", "src": _first(own, "reference")})
    texts = ("id", "task", "instruction", "input_caption", "output_caption")
    return {name: getattr(pair, name) for name in texts} | {"clips": clips}


def _first(shown: Sequence[Mapping[str, str]], name: str) -> str:
    return next((each[name] for each in shown if name in each), "")


def _overall(told: Mapping[str, Any]) -> str:
    published = any(told["published"].values())
    head = ["metric", "recipe", "", *told["methods"], *(["published"] if published else [])]
    rows, failed = [], {row["method"] for row in told["failed"]}
    columns, empty = with_values(told)
    for column in columns:
        digits = decimals([method[column.name]["mean"] for method in told["methods"].values()])
        cells = [f'<td title="{escape(column.help)}">{escape(column.name)}</td>']
        cells += [f'<td class="recipe">{escape(column.recipe)}</td><td>{ARROWS[column.better]}</td>']
        for name, method in told["methods"].items():
            mark = told["against"].get(name, {}).get(column.name, {}).get("verdict", "tie")
            cells.append(_cell(method[column.name], digits, mark, name in failed))
        if published:
            others = told["published"].get(column.name, {})
            cells.append(f"<td>{escape(' · '.join(f'{who} {value:g}' for who, value in others.items()))}</td>")
        rows.append("".join(cells))
    against = f'<p class="soft">▲ better, ▼ worse than {escape(told["reference"])}, clear of zero.</p>'
    absent = f'<p class="soft">Without any value here: {escape(", ".join(empty))}.</p>' if empty else ""
    return _table(head, rows) + (against if told["against"] else "") + absent


def _cell(found: Mapping[str, Any], digits: int, mark: str, failed: bool) -> str:
    if not found["n"]:
        return "<td>–</td>"
    sign = {"better": ' <span class="better">▲</span>', "worse": ' <span class="worse">▼</span>'}.get(mark, "")
    kind = "worse" if failed else "range"
    count = "" if found["n"] == found["of"] else f' <span class="{kind}">{found["n"]}/{found["of"]}</span>'
    spread = ""
    if found["low"] is not None and found["low"] == found["low"]:
        spread = f' <span class="range">[{number(found["low"], digits)}, {number(found["high"], digits)}]</span>'
    return f"<td>{number(found['mean'], digits)}{spread}{count}{sign}</td>"


def _by_task(told: Mapping[str, Any], method: str) -> str:
    tasks, rows = told["data"]["tasks"], []
    for column in with_values(told)[0]:
        found = told["methods"][method][column.name]
        digits = decimals([found["mean"]])
        cells = "".join(f"<td>{number(found['tasks'][task]['mean'], digits)}</td>" for task in tasks)
        rows.append(f"<td>{escape(column.name)}</td><td>{ARROWS[column.better]}</td>{cells}")
    return _folded(f"{method} by task", f'<div class="box scroll">{_table(["metric", "", *tasks], rows)}</div>')


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f"<table><tr>{names}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _plots(folder: Path, names: Sequence[str]) -> str:
    if not names:
        return ""
    drawn = [(folder / FOLDER / f"{name}.svg").read_text(encoding="utf-8") for name in names]
    first = f'<h2>Plots</h2><div class="plots">{"".join(drawn[:FIRST_PLOTS])}</div>'
    rest = f'<div class="plots">{"".join(drawn[FIRST_PLOTS:])}</div>'
    return first + (_folded("more plots", rest) if drawn[FIRST_PLOTS:] else "")


def boxes(lines: Sequence[str], kind: str) -> str:
    """Lines of text, each in a box of its own."""
    return "".join(f'<div class="{kind}">{escape(line)}</div>' for line in lines)


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{body}</details>" if body else ""
