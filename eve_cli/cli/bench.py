"""`eve bench`: compare methods and models."""

from __future__ import annotations

import dataclasses
from typing import Any

import typer
from typer.core import TyperGroup

from eve_cli.cli import console
from eve_cli.cli.options import add_command
from eve_cli.evaluation.settings import AlignmentBenchSettings, BenchSettings

UNALIGNED = "unaligned"


class RunByDefault(TyperGroup):
    """Options without a command are those of `run`: `eve bench --methods eve,copy`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments, with `run` in front where no command is named."""
        if args and args[0].startswith("-") and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


HELP = "Compare methods and models. Options without a command are those of `run`."
app = typer.Typer(cls=RunByDefault, add_completion=False, help=HELP)


@app.callback(invoke_without_command=True)
def bench(ctx: typer.Context) -> None:
    """Compare methods and models."""
    if ctx.invoked_subcommand is None:
        console.result(ctx.get_help())


def run(settings: BenchSettings) -> None:
    """Makes the edits that --out lacks, scores all of them, and prints the table."""
    from eve_cli.cli.eval import report, run_evaluation
    from eve_cli.evaluation import bench
    from eve_cli.evaluation.evaluate import prepare

    bench.entries(settings.methods, settings.model)  # raises UsageError before anything is written
    prepare(settings.out, resume=not settings.overwrite, overwrite=settings.overwrite)
    bench.check_folder(settings)
    eval_set = bench.data(settings)
    with Bars(len(eval_set.pairs), "edit") as bars:
        eval_set = bench.BenchRunner(settings, bars.update).run(eval_set)
    report(run_evaluation(eval_set, dataclasses.replace(settings, resume=True, overwrite=False)), settings)


def alignment(settings: AlignmentBenchSettings) -> None:
    """Computes the tables, writes them beside the values, and prints them."""
    from eve_cli.evaluation import alignment_table, strips
    from eve_cli.models import bundle

    own = bundle.read(bundle.resolve(settings.model))
    tasks = tuple(filter(None, settings.tasks.split(","))) or alignment_table.ALIGNED_TASKS
    scales = {} if settings.guidance_scale is None else {"guidance_scale": settings.guidance_scale}
    held_out = alignment_table.HeldOutEdits(
        tasks, settings.each, int(own.settings["frames"]), int(own.settings["pixels"]), settings.seed, scales
    )
    models = ({"aligned": settings.model} if "align" in own.parts else {}) | settings.aligned_models
    rows = alignment_table.rows(settings.model, UNALIGNED, models)
    if not settings.controls:
        rows = [row for row in rows if row.name == UNALIGNED or row.aligned]
    for steps in settings.step_counts:
        clips = {} if settings.strips else None
        with Bars(settings.each * len(tasks), f"{steps} steps") as bars:
            values = alignment_table.table(rows, held_out, steps, settings.out, bars.update, clips)
        markdown = alignment_table.markdown(values, UNALIGNED)
        (settings.out / f"table.{steps}.md").write_text(markdown + "\n", encoding="utf-8")
        console.markdown(f"{steps} steps, {settings.each * len(tasks)} edits, instruction alone\n\n{markdown}\n")
        if clips:
            strips.write(settings.out / f"strips.{steps}", held_out, clips, settings.strips)


class Bars:
    """A progress bar for each row of a table."""

    def __init__(self, total: int, label: str) -> None:
        self.total, self.label, self.name = total, label, ""
        self.bar: console.Progress | None = None

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def update(self, name: str, done: int, of: int) -> None:
        """Counts the edits of a row."""
        if name != self.name or self.bar is None:
            self.__exit__()
            self.name, self.bar = name, console.Progress(f"{self.label} · {name}", of, "edits")
        self.bar.update(done)


add_command(app, "run", BenchSettings, run)
add_command(app, "alignment", AlignmentBenchSettings, alignment)
