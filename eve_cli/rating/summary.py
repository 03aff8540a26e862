"""Writes the analysis of a study: votes.csv, summary.json and summary.md, the same bytes for the same answers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eve_cli.errors import OutputError
from eve_cli.rating.analyze import Values, analyze
from eve_cli.rating.votes import StudyVotes, Vote
from eve_cli.storage.atomic import write_text

COLUMNS = (
    *("study", "rater", "item", "video", "task", "question", "left", "right", "shown", "choice", "winner"),
    *("rt_ms", "replays", "blurs", "order", "catch", "passed", "ts"),
)
BOTH = "95 % (videos, raters)"
NOTE = """
Wilson's interval treats votes as independent, which votes on one video or by one rater are not; the 95 % column beside
it is a bootstrap over source videos and raters. p is that of the exact sign test on votes, without ties. A majority is
that of the raters of one item. α is Krippendorff's: 1 is full agreement, 0 is chance.
"""


@dataclass(frozen=True)
class StudySummary:
    """The analysis as values and as Markdown."""

    values: Values
    text: str


def write(study: StudyVotes, folder: Path) -> StudySummary:
    """Writes the three files; OutputError if the folder cannot be created."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be created ({error.strerror}).") from error
    values = analyze(study)
    text = markdown(values)
    write_text(folder / "votes.csv", _votes_csv(study))
    write_text(folder / "summary.json", json.dumps(values, ensure_ascii=False, indent=1) + "\n")
    write_text(folder / "summary.md", text + "\n")
    return StudySummary(values, text)


def _votes_csv(study: StudyVotes) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for vote in sorted(study.all_votes, key=lambda vote: (vote.rater, vote.order)):
        writer.writerow(_row(study.plan.study, vote))
    return text.getvalue()


def _row(study: str, vote: Vote) -> Values:
    row = {name: value for name, value in vars(vote).items() if name in COLUMNS and value is not None}
    if len(vote.shown) == 2:
        row |= {"left": vote.shown[0], "right": vote.shown[1]}
    if vote.passed is not None:
        row["passed"] = int(vote.passed)
    return row | {"study": study, "shown": "|".join(vote.shown)}


def markdown(values: Values) -> str:
    """The Markdown of an analysis."""
    raters = values["raters"]
    voted = [rater for rater in raters if rater["votes"]]
    parts = [
        f"# Study {values['study']}",
        _facts(values, sum(rater["included"] for rater in voted), len(voted)),
        *_TABLES[values["mode"]](values),
    ]
    parts += [_raters(raters), NOTE.strip()]
    return "\n\n".join(filter(None, parts))


def _facts(values: Values, included: int, raters: int) -> str:
    excluded = f" ({raters - included} excluded)" if included < raters else ""
    agreement = ", ".join(f"{name} {_number(alpha)}" for name, alpha in values["agreement"].items())
    lines = [
        f"{values['votes']} votes of {included} raters{excluded} on {values['items']} edits "
        f"of {values['videos']} videos.",
        f"Power: {values['power']}.",
        f"Agreement (α): {agreement}.",
    ]
    if values["positions"]:
        first = values["positions"]["first"]
        lines.append(f"The first position was chosen in {_share(first[0])} % of votes ({_range(first, _share)}).")
    return "  \n".join(lines)


def _pairwise(values: Values) -> list[str]:
    head = ["", "question", "votes", "wins–losses–ties", "wins %", "Wilson", BOTH, "p", "majorities", "α"]
    tables = [_markdown(head, [_comparison(row) for row in values["pairs"]])]
    if values["bradley_terry"]:
        scores = [
            [row["question"], row["system"], f"{row['score'][0]:.0f}", _range(row["score"], lambda x: f"{x:.0f}")]
            for row in values["bradley_terry"]
        ]
        tables += ["## Bradley–Terry", _markdown(["question", "system", "score", BOTH], scores)]
    return tables


def _comparison(row: Values) -> list[Any]:
    lead = [f"{row['a']} over {row['b']}", row["question"], row["n"]]
    share, interval = f"**{_share(row['share'])}**", _range(row["cluster"], _share)
    if "p" not in row:  # the mean of the questions
        return [*lead, "", share, "", interval, "", "", ""]
    most = row["majority"]
    counts = f"{row['wins']}–{row['losses']}–{row['ties']}"
    decided = f"{most['wins']}–{most['losses']} of {most['items']}, p {_p(most['p'])}"
    wilson = _range(row["wilson"], _share)
    return [*lead, counts, share, wilson, interval, _p(row["p"]), decided, _number(row["alpha"])]


def _best(values: Values) -> list[str]:
    rows = [
        [
            *(row["question"], row["system"], row["n"], f"**{_share(row['share'])}**", _share(row["chance"])),
            *(_range(row[name], _share) for name in ("wilson", "cluster")),
        ]
        for row in values["best"]
    ]
    return [_markdown(["question", "system", "votes", "best %", "chance", "Wilson", BOTH], rows)]


def _scores(values: Values) -> list[str]:
    scores = [
        [
            *(row["system"], row["question"], row["n"], row["edits"], _number(row["mean"]), _number(row["sd"])),
            _range(row["cluster"], _number),
        ]
        for row in values["scores"]
    ]
    success = [
        [
            *(row["system"], row["edits"], row["successes"], f"**{_share(row['share'])}**"),
            *(_range(row[name], _share) for name in ("wilson", "cluster")),
        ]
        for row in values["success"]
    ]
    return [
        _markdown(["system", "question", "votes", "edits", "mean", "SD of edits", BOTH], scores),
        "## Success (all mean scores above 2)",
        _markdown(["system", "edits", "successes", "%", "Wilson", "95 % (videos)"], success),
    ]


_TABLES = {"pairwise": _pairwise, "scores": _scores, "best": _best}


def _raters(raters: Sequence[Values]) -> str:
    rows = [
        [
            rater["name"] if rater["included"] else f"{rater['name']} (excluded)",
            rater["votes"],
            f"{rater['passed']} of {rater['caught']}",
            _share(rater["first"][0]),
            _number(rater["seconds"]),
            rater["broken"],
        ]
        for rater in raters
    ]
    head = ["rater", "answers", "catch trials passed", "first position %", "median s", "broken"]
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
