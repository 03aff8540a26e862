"""`eve train vae|decoder|backbone|edit|joint|video|encoders|lora`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from eve_cli.cli import console
from eve_cli.cli.options import add_command
from eve_cli.runtime import distributed
from eve_cli.storage.paths import shell_word
from eve_cli.training.settings import SETTINGS, TrainSettings

if TYPE_CHECKING:
    from eve_cli.training.loop import Event
    from eve_cli.training.session import Trained

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Train one part of a model; the others do not change. The result is a whole model, or a LoRA.",
)


class TrainingReporter:
    """Prints the events of a training run: its settings, its progress and its result."""

    def __init__(self, command: str, name: str, settings: TrainSettings) -> None:
        self.command, self.name, self.settings = command, name, settings
        self.quiet = settings.quiet or not distributed.is_main()
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
        """Prints a line, unless `--quiet` is set."""
        if self.bar is not None:
            self.bar.close()
        if not self.quiet:
            console.say(label, text)

    def _begin(self, event: Event) -> None:
        s = self.settings
        ends = [f"{s.steps} steps"] if s.steps else []
        ends += [f"{s.minutes:g} min"] if s.minutes else []
        self.say("model", f"{s.model} · training {self.name}")
        self.say("data", s.data_summary())
        start = f" · from step {event.step}" if event.kind == "resumed" else ""
        self.say("plan", f"{' or '.join(ends)} · batch {s.batch} · lr {s.lr:g} · {s.precision} · seed {s.seed}{start}")
        if event.text:
            self.say("pool", event.text)
        total, unit = (s.steps or 0, "steps") if s.minutes is None else (round(s.minutes * 60), "s")
        self.bar = console.Progress("train", total, unit, quiet=self.quiet)
        self.bar.started -= event.seconds  # includes the time before a run was resumed

    def _note(self, event: Event) -> str:
        losses = [f"{k.lstrip('_')} {v:.4g}" for k, v in event.losses.items() if k != "gradient_norm"]
        return f"step {event.step} · {' · '.join(losses[:4])} · {event.samples_per_second:.1f} samples/s"

    def finish(self, trained: Trained) -> None:
        """Prints the result of a run, or how to resume it; then exits with 130."""
        outcome, out = trained.outcome, trained.folder
        if trained.model is None:
            self.say(
                "stop",
                f"saved at step {outcome.step}; resume with: eve {self.command} --out {shell_word(out)} --resume",
            )
            raise typer.Exit(130)
        speed = f"{outcome.step} steps · {console.clock(outcome.seconds)}"
        self.say("done", f"{speed} · record and previews in {out}")
        if outcome.main:
            console.result(trained.model)


def _command(part: str) -> Callable[[TrainSettings], None]:
    def run(settings: TrainSettings) -> None:
        from eve_cli.training import session

        if settings.resume:
            settings = session.resumed(part, settings)
        if settings.dry_run:
            for label, text in session.estimate_step(part, settings).lines():
                console.say(label, text)
            return
        reporter = TrainingReporter(f"train {part}", part, settings)
        reporter.finish(session.train(part, settings, reporter))

    return run


for _part, _settings in SETTINGS.items():
    add_command(app, _part, _settings, _command(_part))
