"""`eve bench`: methods and models against each other."""

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
        """The arguments with `run` put in front where no command is named."""
        if args and args[0].startswith("-") and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


HELP = "Measure methods and models against each other. Options without a command are those of `run`."
app = typer.Typer(cls=RunByDefault, add_completion=False, help=HELP)


@app.callback(invoke_without_command=True)
def bench(ctx: typer.Context) -> None:
    """Measure methods and models against each other."""
    if ctx.invoked_subcommand is None:
        console.result(ctx.get_help())


def run(settings: BenchSettings) -> None:
    """Makes the edits that --out lacks, judges all of them, and prints the table."""
    from eve_cli.cli.eval import judged, report
    from eve_cli.evaluation import bench
    from eve_cli.evaluation.evaluate import prepare

    bench.entries(settings.methods, settings.model)  # to be told at once what is wrong
    prepare(settings.out, resume=not settings.overwrite, overwrite=settings.overwrite)
    bench.claim(settings)
    asked = bench.data(settings)
    with Bars(len(asked.pairs), "edit") as bars:
        asked = bench.Editing(settings, bars.update).all(asked)
    report(judged(asked, dataclasses.replace(settings, resume=True, overwrite=False)), settings)


def alignment(settings: AlignmentBenchSettings) -> None:
    """Makes the tables, writes them beside the values, and prints them."""
    from eve_cli.evaluation import alignment as bench
    from eve_cli.evaluation import strips
    from eve_cli.models import bundle

    own = bundle.read(bundle.resolve(settings.model))
    tasks = tuple(filter(None, settings.tasks.split(","))) or bench.ALIGNED_TASKS
    scales = {} if settings.guidance_scale is None else {"guidance_scale": settings.guidance_scale}
    test = bench.Test(
        tasks, settings.each, int(own.settings["frames"]), int(own.settings["pixels"]), settings.seed, scales
    )
    models = ({"aligned": settings.model} if "align" in own.parts else {}) | settings.folders
    lines = bench.rows(settings.model, UNALIGNED, models)
    if not settings.controls:
        lines = [row for row in lines if row.name == UNALIGNED or row.aligned]
    for steps in settings.counts:
        kept = {} if settings.strips else None
        with Bars(settings.each * len(tasks), f"{steps} steps") as bars:
            values = bench.table(lines, test, steps, settings.out, bars.update, kept)
        told = bench.markdown(values, UNALIGNED)
        (settings.out / f"table.{steps}.md").write_text(told + "\n", encoding="utf-8")
        console.result(f"{steps} steps, {settings.each * len(tasks)} edits, instruction alone\n\n{told}\n")
        if kept:
            strips.write(settings.out / f"strips.{steps}", test, kept, settings.strips)


class Bars:
    """A progress bar for each line of a table."""

    def __init__(self, total: int, label: str) -> None:
        self.total, self.label, self.name = total, label, ""
        self.bar: console.Progress | None = None

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def update(self, name: str, done: int, of: int) -> None:
        """Counts the edits of a line."""
        if name != self.name or self.bar is None:
            self.__exit__()
            self.name, self.bar = name, console.Progress(f"{self.label} · {name}", of, "edits")
        self.bar.update(done)


add_command(app, "run", BenchSettings, run)
add_command(app, "alignment", AlignmentBenchSettings, alignment)
