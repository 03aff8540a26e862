"""The `eve` command: a table of sub-commands that are imported when they are called, and one place where errors end."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from eve_cli import __version__
from eve_cli.cli import console
from eve_cli.errors import EveError, is_out_of_memory
from eve_cli.registry import load

# name -> (a Typer app as "module:object", one line for --help)
COMMANDS: dict[str, tuple[str, str]] = {
    "edit": ("eve_cli.cli.edit:app", "Edit a video or a picture by an instruction."),
    "plan": ("eve_cli.cli.plan:app", "Say what an edit would do, take and need, without doing it."),
    "preview": ("eve_cli.cli.preview:app", "Show a few windows of an edit at several settings."),
    "batch": ("eve_cli.cli.batch:app", "Edit many videos with one model; resumable."),
    "resume": ("eve_cli.cli.edit:resume_app", "Go on with an edit that was interrupted."),
    "rerun": ("eve_cli.cli.edit:rerun_app", "Do an edit again, exactly, from its run.json."),
    "generate": ("eve_cli.cli.make:generate_app", "Make a video of a text."),
    "animate": ("eve_cli.cli.make:animate_app", "Make a video of a picture, with a moving camera."),
    "subject": ("eve_cli.cli.make:subject_app", "Make a video of a subject that some pictures show."),
    "train": ("eve_cli.cli.train:app", "Train a codec, a backbone or an adapter."),
    "align": ("eve_cli.cli.align:app", "Align the adapters of a model by Factorized Diffusion Distillation."),
    "eval": ("eve_cli.cli.eval:app", "Evaluate edits with standard metrics and intervals, and compare runs."),
    "bench": ("eve_cli.cli.bench:app", "Compare methods and models."),
    "rate": ("eve_cli.cli.rate:app", "Collect and analyse blind human ratings."),
    "models": ("eve_cli.cli.models:app", "List, fetch, check, carry and convert models."),
    "doctor": ("eve_cli.cli.doctor:app", "Check what an edit needs on this machine."),
    "env": ("eve_cli.cli.doctor:env_app", "Say what this machine is, for a report of a bug."),
    "data": ("eve_cli.cli.data:app", "Look at the data before you train."),
}


class LazyGroup(TyperGroup):
    """Lists the table without importing a row; imports the one row that is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, (_, help) in COMMANDS.items():
            self.add_command(TyperCommand(name=name, help=help))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The name, the real command and the remaining arguments."""
        name, stub, rest = super().resolve_command(ctx, args)
        if stub is None or name is None:
            return name, stub, rest
        return name, typer.main.get_command(load(COMMANDS[name][0])), rest


app = typer.Typer(cls=LazyGroup, add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


def _version(wanted: bool) -> None:
    if wanted:
        console.result(f"eve {__version__}")
        raise typer.Exit()


@app.callback()
def eve(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Edit videos and pictures by instruction: eve edit input.mp4 "make it snowy".

    Any command takes --debug, which shows where an error came from.
    """


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits with its code."""
    words = list(sys.argv[1:] if args is None else args)
    debug = _take_debug(words)
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(words or ["--help"], debug=debug))


def run(words: list[str], *, debug: bool = False) -> int:
    """Runs one command; an error becomes one sentence and the exit code, or a traceback with `debug`."""
    try:
        outcome = typer.main.get_command(app).main(words, prog_name="eve", standalone_mode=False)
        return outcome if isinstance(outcome, int) else 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (EveError, TyperException) as error:
        if debug:
            raise
        console.error(error.format_message() if isinstance(error, TyperException) else str(error))
        return error.exit_code
    except Exception as error:
        if debug:
            raise
        if is_out_of_memory(error):
            console.error("There is not enough memory; try a shorter --window or a smaller --size.")
            return 5
        console.error(f"Something unexpected happened ({type(error).__name__}: {error}); --debug shows where.")
        return 1


def _take_debug(words: list[str]) -> bool:
    end = words.index("--") if "--" in words else len(words)
    found = "--debug" in words[:end]
    if found:
        words.remove("--debug")
    return found


def _terminate(*_: object) -> NoReturn:
    raise SystemExit(143)
