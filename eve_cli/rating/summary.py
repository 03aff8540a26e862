"""The files of a tally: votes.csv, summary.json and summary.md, the same bytes for the same answers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eve_cli.errors import OutputError
from eve_cli.rating import results
from eve_cli.rating.analyze import Count, Vote
from eve_cli.rating.results import Row
from eve_cli.storage.atomic import AtomicFile

COLUMNS = (
    *("study", "rater", "item", "video", "task", "question", "left", "right", "shown", "choice", "winner"),
    *("rt_ms", "replays", "blurs", "order", "catch", "passed", "ts"),
)
BOTH = "95 % (videos, raters)"
NOTE = """
Wilson's interval takes votes as independent, which those on one video or of one rater are not; the 95 % column beside
it draws source videos and raters anew. p is of the exact sign test on votes, ties left out. A majority is of the raters
of one item. α is Krippendorff's: 1 is full agreement, 0 is chance.
"""


@dataclass(frozen=True)
class Told:
    """What was written: the values and the text."""

    values: Row
    text: str


def write(counted: Count, folder: Path) -> Told:
    """Write the three files; OutputError if the folder cannot hold them."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}).") from error
    found = results.values(counted)
    text = markdown(found)
    _put(folder / "votes.csv", _table(counted))
    _put(folder / "summary.json", json.dumps(found, ensure_ascii=False, indent=1) + "\n")
    _put(folder / "summary.md", text + "\n")
    return Told(found, text)


def _put(path: Path, text: str) -> None:
    file = AtomicFile(str(path))
    file.path.write_text(text, encoding="utf-8", newline="")
    file.commit()


def _table(counted: Count) -> str:
    held = io.StringIO()
    writer = csv.DictWriter(held, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for vote in sorted(counted.everything, key=lambda vote: (vote.rater, vote.order)):
        writer.writerow(_row(counted.plan.study, vote))
    return held.getvalue()


def _row(study: str, vote: Vote) -> Row:
    row = {name: value for name, value in vars(vote).items() if name in COLUMNS and value is not None}
    if len(vote.shown) == 2:
        row |= {"left": vote.shown[0], "right": vote.shown[1]}
    if vote.passed is not None:
        row["passed"] = int(vote.passed)
    return row | {"study": study, "shown": "|".join(vote.shown)}


def markdown(found: Row) -> str:
    """The summary as people read it."""
    raters = found["raters"]
    voted = [rater for rater in raters if rater["votes"]]
    parts = [
        f"# Study {found['study']}",
        _facts(found, sum(rater["kept"] for rater in voted), len(voted)),
        *_TABLES[found["mode"]](found),
    ]
    parts += [_raters(raters), NOTE.strip()]
    return "\n\n".join(filter(None, parts))


def _facts(found: Row, kept: int, raters: int) -> str:
    left = f" ({raters - kept} left out)" if kept < raters else ""
    agreement = ", ".join(f"{name} {_number(alpha)}" for name, alpha in found["agreement"].items())
    lines = [
        f"{found['votes']} votes of {kept} raters{left} on {found['items']} edits of {found['videos']} videos.",
        f"To be expected: {found['power']}.",
        f"Agreement (α): {agreement}.",
    ]
    if found["places"]:
        first = found["places"]["first"]
        lines.append(f"The first place was chosen in {_share(first[0])} % of votes ({_range(first, _share)}).")
    return "  \n".join(lines)


def _pairwise(found: Row) -> list[str]:
    head = ["", "question", "votes", "wins–losses–ties", "wins %", "Wilson", BOTH, "p", "majorities", "α"]
    tables = [_markdown(head, [_duel(row) for row in found["pairs"]])]
    if found["bradley_terry"]:
        scores = [
            [row["question"], row["system"], f"{row['score'][0]:.0f}", _range(row["score"], lambda x: f"{x:.0f}")]
            for row in found["bradley_terry"]
        ]
        tables += ["## Bradley–Terry", _markdown(["question", "system", "score", BOTH], scores)]
    return tables


def _duel(row: Row) -> list[Any]:
    lead = [f"{row['a']} over {row['b']}", row["question"], row["n"]]
    share, interval = f"**{_share(row['share'])}**", _range(row["cluster"], _share)
    if "p" not in row:  # the mean of the questions
        return [*lead, "", share, "", interval, "", "", ""]
    most = row["majority"]
    counts = f"{row['wins']}–{row['losses']}–{row['ties']}"
    decided = f"{most['wins']}–{most['losses']} of {most['items']}, p {_p(most['p'])}"
    wilson = _range(row["wilson"], _share)
    return [*lead, counts, share, wilson, interval, _p(row["p"]), decided, _number(row["alpha"])]


def _best(found: Row) -> list[str]:
    rows = [
        [
            *(row["question"], row["system"], row["n"], f"**{_share(row['share'])}**", _share(row["chance"])),
            *(_range(row[name], _share) for name in ("wilson", "cluster")),
        ]
        for row in found["best"]
    ]
    return [_markdown(["question", "system", "votes", "best %", "chance", "Wilson", BOTH], rows)]


def _scores(found: Row) -> list[str]:
    scores = [
        [
            *(row["system"], row["question"], row["n"], row["edits"], _number(row["mean"]), _number(row["sd"])),
            _range(row["cluster"], _number),
        ]
        for row in found["scores"]
    ]
    success = [
        [
            *(row["system"], row["edits"], row["successes"], f"**{_share(row['share'])}**"),
            *(_range(row[name], _share) for name in ("wilson", "cluster")),
        ]
        for row in found["success"]
    ]
    return [
        _markdown(["system", "question", "votes", "edits", "mean", "SD of edits", BOTH], scores),
        "## Success (all mean scores above 2)",
        _markdown(["system", "edits", "successes", "%", "Wilson", "95 % (videos)"], success),
    ]


_TABLES = {"pairwise": _pairwise, "scores": _scores, "best": _best}


def _raters(raters: Sequence[Row]) -> str:
    rows = [
        [
            rater["name"] if rater["kept"] else f"{rater['name']} (left out)",
            rater["votes"],
            f"{rater['passed']} of {rater['caught']}",
            _share(rater["first"][0]),
            _number(rater["seconds"]),
            rater["broken"],
        ]
        for rater in raters
    ]
    head = ["rater", "answers", "catch trials passed", "first place %", "median s", "broken"]
    return "## Raters\n\n" + _markdown(head, rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _range(interval: Sequence[float | None], form: Callable[[float], str]) -> str:
    _, low, high = interval
    return "–" if low is None or high is None else f"{form(low)} to {form(high)}"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")
