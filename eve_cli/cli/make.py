"""`eve generate`, `eve subject` and `eve animate`: videos that are not edits of one."""

import os
from collections.abc import Callable
from pathlib import Path

import typer

from eve_cli.cli import console
from eve_cli.cli.edit import Shown
from eve_cli.cli.options import add_command
from eve_cli.generation.request import Animating, Generating, Making, Subject

generate_app, subject_app, animate_app = (typer.Typer(add_completion=False) for _ in range(3))


class Made(Shown):
    """Prints how far the making of a video is, and what came out."""

    def make(self, work: Callable[[], Path], as_json: bool) -> None:
        """Does the work and prints its result."""
        try:
            made = work()
        finally:
            self.end()
        self.say("done", console.clock(self.seconds))
        told = {"output": str(made), "seconds": round(self.seconds, 3)}
        console.result(told if as_json else made, as_json=as_json)


def _shown(asked: Making) -> Made:
    if asked.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    return Made(quiet=asked.quiet)


def generate(asked: Generating) -> None:
    """Make a video of a text."""
    shown = _shown(asked)

    def work() -> Path:
        from eve_cli.generation import generate

        return generate.generate(asked, shown)

    shown.make(work, asked.format == "json")


def subject(asked: Subject) -> None:
    """Make a video of a subject that some pictures show."""
    shown = _shown(asked)

    def work() -> Path:
        from eve_cli.generation import generate

        return generate.subject(asked, shown)

    shown.make(work, asked.format == "json")


def animate(asked: Animating) -> None:
    """Make a video of a picture."""
    shown = _shown(asked)

    def work():
        from eve_cli.generation import generate

        return generate.animate(asked, shown)

    shown.run(work, as_json=asked.format == "json")


add_command(generate_app, "generate", Generating, generate)
add_command(subject_app, "subject", Subject, subject)
add_command(animate_app, "animate", Animating, animate)
