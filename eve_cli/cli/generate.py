"""`eve generate`, `eve subject` and `eve animate`: videos that are not edits of one."""

import os

import typer

from eve_cli.cli import console
from eve_cli.cli.edit import ConsoleCallbacks
from eve_cli.cli.options import add_command
from eve_cli.generation.request import AnimateRequest, GenerateRequest, GenerationSettings, SubjectRequest
from eve_cli.registry import load

generate_app, subject_app, animate_app = (typer.Typer(add_completion=False) for _ in range(3))


def generate(request: GenerateRequest) -> None:
    """Generate a video from a prompt."""
    _run(request, "eve_cli.generation.generate:generate")


def subject(request: SubjectRequest) -> None:
    """Generate a video of a subject that some pictures show."""
    _run(request, "eve_cli.generation.generate:subject")


def animate(request: AnimateRequest) -> None:
    """Generate a video from a picture, with a moving camera."""
    _offline(request)
    with ConsoleCallbacks(quiet=request.quiet) as callbacks:
        callbacks.report(
            load("eve_cli.generation.generate:animate")(request, callbacks), as_json=request.format == "json"
        )


def _run(request: GenerationSettings, function: str) -> None:
    """Generates a video and prints its path."""
    _offline(request)
    with ConsoleCallbacks(quiet=request.quiet) as callbacks:
        output = load(function)(request, callbacks)
    callbacks.say("done", console.clock(callbacks.seconds))
    as_json = request.format == "json"
    facts = {"output": str(output), "seconds": round(callbacks.seconds, 3)}
    console.result(facts if as_json else output, as_json=as_json)


def _offline(request: GenerationSettings) -> None:
    if request.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"


add_command(generate_app, "generate", GenerateRequest, generate)
add_command(subject_app, "subject", SubjectRequest, subject)
add_command(animate_app, "animate", AnimateRequest, animate)
