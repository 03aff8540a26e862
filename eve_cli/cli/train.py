"""`eve train vae|decoder|backbone|edit|joint|video|lora`: what people see of a training."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from eve_cli.cli import console
from eve_cli.cli.options import add_command
from eve_cli.training.settings import SETTINGS, TrainSettings

if TYPE_CHECKING:
    from eve_cli.training.loop import Event

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Train one part of a model; the others stay as they are. The result is a whole model, or a LoRA.",
)


class Shown:
    """Prints what a training says: what it learns, how far it is, what came out."""

    def __init__(self, part: str, settings: TrainSettings) -> None:
        self.part, self.settings = part, settings
        self.quiet = settings.quiet or os.environ.get("RANK", "0") != "0"
        self.bar: console.Progress | None = None

    def __call__(self, event: Event) -> None:
        if event.kind in ("started", "resumed"):
            self._begin(event)
        elif event.kind == "progress" and self.bar is not None:
            done = event.step if self.settings.minutes is None else round(event.seconds)
            self.bar.update(done, self._note(event))
        elif event.kind == "warning":
            self.say("note", event.text)
        elif event.kind == "done" and self.bar is not None:
            self.bar.close()

    def say(self, label: str, text: str) -> None:
        """One line, unless all is to be quiet."""
        if self.bar is not None:
            self.bar.close()
        if not self.quiet:
            console.say(label, text)

    def _begin(self, event: Event) -> None:
        s = self.settings
        ends = [f"{s.steps} steps"] if s.steps else []
        ends += [f"{s.minutes:g} min"] if s.minutes else []
        self.say("model", f"{s.model} · training {self.part}")
        self.say("data", s.learned_from())
        start = f" · from step {event.step}" if event.kind == "resumed" else ""
        self.say("plan", f"{' or '.join(ends)} · batch {s.batch} · lr {s.lr:g} · {s.precision} · seed {s.seed}{start}")
        total, unit = (s.steps or 0, "steps") if s.minutes is None else (round(s.minutes * 60), "s")
        self.bar = console.Progress("train", total, unit, quiet=self.quiet)
        self.bar.started -= event.seconds  # time spent before a run was resumed counts

    def _note(self, event: Event) -> str:
        losses = [f"{k.lstrip('_')} {v:.4g}" for k, v in event.losses.items() if k != "gradient_norm"]
        return f"step {event.step} · {' · '.join(losses[:4])} · {event.samples_per_second:.1f} samples/s"


def _command(part: str) -> Callable[[TrainSettings], None]:
    def run(settings: TrainSettings) -> None:
        from eve_cli.training import session

        if settings.resume:
            settings = session.resumed(part, settings)
        shown = Shown(part, settings)
        if settings.dry_run:
            for label, text in session.prospect(part, settings).lines():
                console.say(label, text)
            return
        trained = session.train(part, settings, shown)
        outcome = trained.outcome
        if trained.model is None:
            shown.say(
                "stop", f"saved at step {outcome.step}; go on with: eve train {part} --out {trained.folder} --resume"
            )
            raise typer.Exit(130)
        speed = f"{outcome.step} steps · {console.clock(outcome.seconds)}"
        shown.say("done", f"{speed} · record and previews in {trained.folder}")
        if outcome.main:
            console.result(trained.model)

    return run


for _part, _settings in SETTINGS.items():
    add_command(app, _part, _settings, _command(_part))
