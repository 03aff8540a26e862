"""`eve eval`: evaluate edits of eve or any other tool."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from eve_cli.cli import console
from eve_cli.cli.options import add_command
from eve_cli.errors import CheckFailed
from eve_cli.evaluation.settings import CompareSettings, EvalSettings, ScoreSettings
from eve_cli.settings import setting

if TYPE_CHECKING:
    from eve_cli.evaluation.evaluate import Evaluation
    from eve_cli.evaluation.sets import EvalSet

app = typer.Typer(add_completion=False, help="Evaluate edits with standard metrics and intervals, and compare runs.")


@dataclass(frozen=True)
class WeightsSettings:
    """Where the networks of the metrics are searched."""

    weights: Path | None = setting(
        None, "Folder with the networks of the metrics (default: the Hub's cache).", metavar="DIR"
    )
    json: bool = setting(False, "Print JSON.", flags=("--json",))


@app.callback(invoke_without_command=True)
def eval_(ctx: typer.Context) -> None:
    """Evaluate edits with standard metrics and intervals, and compare runs."""
    if ctx.invoked_subcommand is None:
        console.result(ctx.get_help())


def run(settings: EvalSettings) -> None:
    """Scores the edits and prints the table."""
    from eve_cli.evaluation.evaluate import prepare

    eval_set = _eval_set(settings).first(settings.limit)
    prepare(settings.out, settings.resume, settings.overwrite)
    report(run_evaluation(eval_set.with_copy() if settings.identity else eval_set, settings), settings)


def run_evaluation(eval_set: EvalSet, settings: ScoreSettings) -> Evaluation:
    """The evaluation, with its progress on stderr."""
    from eve_cli.evaluation.evaluate import evaluate

    for note in eval_set.notes:
        console.say("data", note)
    total = len(eval_set.pairs) * len(eval_set.methods)
    console.say("data", f"{eval_set.name}: {len(eval_set.pairs)} edits, {', '.join(eval_set.methods)}")
    bar = console.Progress("score", total, "edits")

    def update(done: int, of: int) -> None:
        bar.total = max(of, 1)
        bar.update(done)

    try:
        return evaluate(eval_set, settings, sys.argv[1:], update)
    except KeyboardInterrupt:
        console.say("stop", "finished scores are kept; resume with: the same command and --resume")
        raise
    finally:
        bar.close()


def report(outcome: Evaluation, settings: ScoreSettings) -> None:
    """Prints the table; CheckFailed if some edits could not be scored, unless --allow-partial is set."""
    from eve_cli.evaluation import summary

    if settings.json:
        console.result(outcome.summary, as_json=True)
    else:
        console.markdown(summary.markdown(outcome.summary, tasks=False))
    console.say("page", str(outcome.folder / "index.html"))
    failed = outcome.results.failed
    if failed and not settings.allow_partial:
        first = failed[0]
        raise CheckFailed(
            f"{len(failed)} edits could not be scored, the first being {first.method} {first.id}: {first.error}. "
            "The results are written; --allow-partial accepts them."
        )


def _eval_set(settings: EvalSettings) -> EvalSet:
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
    """Prints the comparison, and writes it to --out."""
    from eve_cli.evaluation import compare as comparing

    comparison = comparing.compare(settings.one, settings.other, settings.seed)
    if settings.out is not None:
        comparing.write(settings.out, comparison, settings.one, settings.other)
    if settings.json:
        console.result(comparison, as_json=True)
    else:
        console.markdown(comparing.markdown(comparison))


def ls(settings: WeightsSettings) -> None:
    """Lists the metrics: columns, recipes, needs, and whether they can run."""
    from eve_cli import registry
    from eve_cli.evaluation.metrics import METRICS
    from eve_cli.evaluation.results import described
    from eve_cli.evaluation.summary import ARROWS
    from eve_cli.evaluation.weights import Weights

    weights, lines, listed = Weights(settings.weights), [], []
    for name in METRICS:
        metric: Any = registry.pick(METRICS, name, "metric")(weights, "cpu")
        state = metric.missing()
        needs = sorted(metric.needs)
        listed.append(
            {"name": name, "needs": needs, "missing": state, "columns": [described(c) for c in metric.columns]}
        )
        lines.append(
            f"{name}   needs {', '.join(needs) or 'nothing'}   {'ready' if state is None else 'not available'}"
        )
        lines += [
            f"  {ARROWS[c.better]} {c.name:<20} {c.recipe:<28} {f'{c.range} {c.unit}'.strip():<14} {c.help}"
            for c in metric.columns
        ]
        lines += [f"    {state}"] if state else []
    console.result(listed if settings.json else "\n".join(lines), as_json=settings.json)


def doctor(settings: WeightsSettings) -> None:
    """Checks the checkpoints of the metrics; CheckFailed if a file is broken."""
    from dataclasses import asdict

    from eve_cli.evaluation.doctor import check
    from eve_cli.evaluation.weights import Weights

    checkpoints = check(Weights(settings.weights))
    if settings.json:
        console.result([asdict(each) for each in checkpoints], as_json=True)
    else:
        console.result("\n".join(f"{each.state:<8} {each.name:<18} {each.text}" for each in checkpoints))
    if broken := [each for each in checkpoints if each.state == "broken"]:
        raise CheckFailed(f"{len(broken)} of {len(checkpoints)} checkpoints are broken; the first is {broken[0].name}.")


add_command(app, "run", EvalSettings, run)
add_command(app, "compare", CompareSettings, compare)
add_command(app, "ls", WeightsSettings, ls, "List the metrics: columns, recipes, needs, and whether they can run.")
add_command(
    app,
    "doctor",
    WeightsSettings,
    doctor,
    "Check the checkpoints of the metrics: present, complete, with the right tensors.",
)
