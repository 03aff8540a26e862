"""`eve eval`: judge edits, of eve or of any other tool."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from eve_cli.cli import console
from eve_cli.cli.options import add_command
from eve_cli.errors import CheckFailed
from eve_cli.evaluation.settings import CompareSettings, EvalSettings, JudgeSettings
from eve_cli.settings import setting

if TYPE_CHECKING:
    from eve_cli.evaluation.evaluate import Outcome
    from eve_cli.evaluation.sets import EvalSet

app = typer.Typer(add_completion=False, help="Judge edits as the field does, with intervals, and compare runs.")


@dataclass(frozen=True)
class WeightsSettings:
    """Where the metrics' networks are looked for."""

    weights: Path | None = setting(None, "Folder of the metrics' networks (default: the Hub's cache).", metavar="DIR")
    json: bool = setting(False, "Print JSON.", flags=("--json",))


@app.callback(invoke_without_command=True)
def eval_(ctx: typer.Context) -> None:
    """Judge edits as the field does, with intervals, and compare runs."""
    if ctx.invoked_subcommand is None:
        console.result(ctx.get_help())


def run(settings: EvalSettings) -> None:
    """Judges and prints the table."""
    from eve_cli.evaluation.evaluate import prepare

    asked = _asked(settings).first(settings.limit)
    prepare(settings.out, settings.resume, settings.overwrite)
    report(judged(asked.with_copy() if settings.identity else asked, settings), settings)


def judged(asked: EvalSet, settings: JudgeSettings) -> Outcome:
    """The evaluation, with its progress on stderr."""
    from eve_cli.evaluation.evaluate import evaluate

    for note in asked.notes:
        console.say("data", note)
    total = len(asked.pairs) * len(asked.methods)
    console.say("data", f"{asked.name}: {len(asked.pairs)} edits, {', '.join(asked.methods)}")
    bar = console.Progress("judge", total, "edits")

    def update(done: int, of: int) -> None:
        bar.total = max(of, 1)
        bar.update(done)

    try:
        return evaluate(asked, settings, sys.argv[1:], update)
    except KeyboardInterrupt:
        console.say("stop", "what is judged is kept; the same command goes on with --resume")
        raise
    finally:
        bar.close()


def report(outcome: Outcome, settings: JudgeSettings) -> None:
    """Prints the table; CheckFailed if some edits could not be judged and that is not allowed."""
    from eve_cli.evaluation import summary

    console.result(
        outcome.told if settings.json else summary.markdown(outcome.told, tasks=False), as_json=settings.json
    )
    console.say("page", str(outcome.folder / "index.html"))
    failed = outcome.results.failed
    if failed and not settings.allow_partial:
        first = failed[0]
        raise CheckFailed(
            f"{len(failed)} edits could not be judged, the first being {first.method} {first.id}: {first.error}. "
            "The results are written; --allow-partial accepts them."
        )


def _asked(settings: EvalSettings) -> EvalSet:
    from eve_cli.evaluation import sets
    from eve_cli.evaluation.pairs import Pair

    edits = sets.named_folders(settings.edits)
    if settings.manifest is not None:
        return sets.from_manifest(settings.manifest, edits, settings.map)
    if settings.tgve is not None and settings.plus is not None:
        return sets.from_plus(settings.plus, settings.tgve, edits, settings.map)
    if settings.tgve is not None:
        return sets.from_tgve(settings.tgve, edits, settings.instructions)
    assert settings.source is not None
    pair = Pair(
        id=settings.source.stem,
        video=settings.source.stem,
        task=settings.task,
        source=settings.source,
        edited=settings.edited,
        instruction=settings.instruction,
        input_caption=settings.input_caption,
        output_caption=settings.caption,
        mask=settings.mask,
        reference=settings.reference,
    )
    return sets.EvalSet(settings.source.name, {"edits": [pair]})


def compare(settings: CompareSettings) -> None:
    """Prints the comparison, and writes it where --out is given."""
    from eve_cli.evaluation import compare as comparing

    told = comparing.compare(settings.one, settings.other, settings.seed)
    if settings.out is not None:
        comparing.write(settings.out, told, settings.one, settings.other)
    console.result(told if settings.json else comparing.markdown(told), as_json=settings.json)


def ls(settings: WeightsSettings) -> None:
    """The metrics: their columns, recipes and needs, and whether they can run here."""
    from eve_cli import registry
    from eve_cli.evaluation.metrics import METRICS
    from eve_cli.evaluation.results import described
    from eve_cli.evaluation.summary import ARROWS
    from eve_cli.evaluation.weights import Weights

    weights, lines, found = Weights(settings.weights), [], []
    for name in METRICS:
        metric: Any = registry.pick(METRICS, name, "metric")(weights, "cpu")
        state = metric.missing()
        needs = sorted(metric.needs)
        found.append(
            {"name": name, "needs": needs, "missing": state, "columns": [described(c) for c in metric.columns]}
        )
        lines.append(f"{name}   needs {', '.join(needs) or 'nothing'}   {'ready' if state is None else 'not here'}")
        lines += [
            f"  {ARROWS[c.better]} {c.name:<20} {c.recipe:<28} {f'{c.range} {c.unit}'.strip():<14} {c.help}"
            for c in metric.columns
        ]
        lines += [f"    {state}"] if state else []
    console.result(found if settings.json else "\n".join(lines), as_json=settings.json)


def doctor(settings: WeightsSettings) -> None:
    """Checks the files of the metrics' networks; CheckFailed if one is there and not whole."""
    from dataclasses import asdict

    from eve_cli.evaluation.doctor import check
    from eve_cli.evaluation.weights import Weights

    lines = check(Weights(settings.weights))
    if settings.json:
        console.result([asdict(line) for line in lines], as_json=True)
    else:
        console.result("\n".join(f"{line.state:<8} {line.name:<15} {line.text}" for line in lines))
    if broken := [line for line in lines if line.state == "broken"]:
        raise CheckFailed(f"{len(broken)} of {len(lines)} networks are not whole; the first is {broken[0].name}.")


add_command(app, "run", EvalSettings, run)
add_command(app, "compare", CompareSettings, compare)
add_command(app, "ls", WeightsSettings, ls, "List the metrics: columns, recipes, needs, and whether they can run here.")
add_command(app, "doctor", WeightsSettings, doctor, "Check the names and shapes in the files of the metrics' networks.")
