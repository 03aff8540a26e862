"""`eve align`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from eve_cli.alignment.settings import AlignSettings, align_recipe
from eve_cli.cli import console
from eve_cli.cli.options import add_command
from eve_cli.cli.train import TrainingReporter

app = typer.Typer(add_completion=False)


def align(settings: AlignSettings) -> None:
    """Checks, trains and prints where the model is."""
    from eve_cli.alignment import pipeline
    from eve_cli.training import session

    if settings.resume:
        settings = session.resumed("align", settings)
    if settings.dry_run:
        _estimate(settings)
        return
    pipeline.check(settings)
    reporter = TrainingReporter("align", "the alignment", settings)
    reporter.finish(pipeline.run(settings, reporter))


def _estimate(settings: AlignSettings) -> None:
    from eve_cli.alignment.pipeline import Alignment
    from eve_cli.settings import to_mapping

    estimate = Alignment(settings, meta_copy=True).estimate()
    for name, value in to_mapping(settings).items():
        if name != "teacher":
            console.result(f"{name} = {', '.join(value) if isinstance(value, tuple) else value}")
    for kind in settings.teacher_kinds:
        for name, value in asdict(settings.resolved_teacher(kind)).items():
            console.result(f"teacher.{kind}.{name} = {value}")
    console.say("model", str(estimate.model))
    counts = [f"{n} {'points' if name == 'points' else f'samples of {name}'}" for name, n in estimate.missing.items()]
    console.say("to prepare", ", ".join(counts))
    for label, text in estimate.step.lines():
        console.say(label, text)


add_command(app, "align", AlignSettings, align, recipe=align_recipe)
