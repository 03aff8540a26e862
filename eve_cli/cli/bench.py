"""`eve bench`: methods and models against each other."""

from __future__ import annotations

import typer

from eve_cli.cli import console
from eve_cli.cli.options import add_command
from eve_cli.evaluation.settings import AlignmentBenchSettings

app = typer.Typer(add_completion=False, help="Measure methods and models against each other.")
UNALIGNED = "unaligned"


@app.callback(invoke_without_command=True)
def bench(ctx: typer.Context) -> None:
    """Measure methods and models against each other."""
    if ctx.invoked_subcommand is None:
        console.result(ctx.get_help())


def alignment(settings: AlignmentBenchSettings) -> None:
    """Makes the tables, writes them beside the values, and prints them."""
    from eve_cli.evaluation import alignment as bench
    from eve_cli.evaluation import strips
    from eve_cli.models import bundle

    own = bundle.read(bundle.resolve(settings.model))
    tasks = tuple(filter(None, settings.tasks.split(","))) or bench.ALIGNED_TASKS
    scales = {} if settings.text_cfg is None else {"text_cfg": settings.text_cfg}
    test = bench.Test(
        tasks, settings.each, int(own.settings["frames"]), int(own.settings["pixels"]), settings.seed, scales
    )
    models = ({"aligned": settings.model} if "align" in own.parts else {}) | settings.folders
    lines = bench.rows(settings.model, UNALIGNED, models)
    if not settings.controls:
        lines = [row for row in lines if row.name == UNALIGNED or row.aligned]
    for steps in settings.counts:
        kept = {} if settings.strips else None
        with Bars(settings.each * len(tasks), steps) as bars:
            values = bench.table(lines, test, steps, settings.out, bars.update, kept)
        told = bench.markdown(values, UNALIGNED)
        (settings.out / f"table.{steps}.md").write_text(told + "\n", encoding="utf-8")
        console.result(f"{steps} steps, {settings.each * len(tasks)} edits, instruction alone\n\n{told}\n")
        if kept:
            strips.write(settings.out / f"strips.{steps}", test, kept, settings.strips)


class Bars:
    """A progress bar for each line of a table."""

    def __init__(self, total: int, steps: int) -> None:
        self.total, self.steps, self.name = total, steps, ""
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
            self.name, self.bar = name, console.Progress(f"{self.steps} steps · {name}", of, "edits")
        self.bar.update(done)


add_command(app, "alignment", AlignmentBenchSettings, alignment)
