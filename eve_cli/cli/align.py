"""`eve align`: what people see of an alignment."""

from __future__ import annotations

import typer

from eve_cli.cli import console
from eve_cli.cli.options import add_command
from eve_cli.cli.train import Shown
from eve_cli.training.settings import AlignSettings, align_recipe

app = typer.Typer(add_completion=False)


def align(settings: AlignSettings) -> None:
    """Checks, prepares, trains and says where the model is."""
    from eve_cli.alignment import pipeline
    from eve_cli.training import session

    if settings.resume:
        settings = session.resumed("align", settings)
    shown = Shown("the alignment", settings)
    if settings.dry_run:
        _prospect(settings)
        return
    pipeline.check(settings)
    bar = console.Progress("points", settings.points, "points", quiet=shown.quiet)
    trained = pipeline.run(settings, shown, lambda done, of: bar.update(done, "latents and teachers' samples"))
    outcome = trained.outcome
    if trained.model is None:
        out = trained.folder
        shown.say("stop", f"saved at step {outcome.step}; go on with: eve align --out {out} --resume")
        raise typer.Exit(130)
    speed = f"{outcome.step} steps · {console.clock(outcome.seconds)}"
    shown.say("done", f"{speed} · record and previews in {trained.folder}")
    if outcome.main:
        console.result(trained.model)


def _prospect(settings: AlignSettings) -> None:
    from eve_cli.alignment.pipeline import Alignment
    from eve_cli.settings import to_mapping

    found = Alignment(settings, meta_copy=True).prospect()
    for name, value in to_mapping(settings).items():
        console.result(f"{name} = {value}")
    made = ", ".join(
        f"{count} {'points' if name == 'points' else f'samples of {name}'}" for name, count in found.samples.items()
    )
    console.say("model", str(found.model))
    console.say("to make", made)
    for label, text in found.step.lines():
        console.say(label, text)


add_command(app, "align", AlignSettings, align, recipe=align_recipe)
