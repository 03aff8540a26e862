"""The `eve` command: a table of sub-commands, imported when they are called, and the one place that reports errors."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from eve_cli.cli import console
from eve_cli.errors import describe
from eve_cli.registry import load
from eve_cli.storage.atomic import on_termination, raise_exit
from eve_cli.version import __version__

# name -> (a Typer app as "module:object", one line for --help)
COMMANDS: dict[str, tuple[str, str]] = {
    "edit": ("eve_cli.cli.edit:app", "Edit a video or an image by an instruction."),
    "plan": ("eve_cli.cli.plan:app", "Estimate time, memory and settings of an edit without running it."),
    "preview": ("eve_cli.cli.preview:app", "Preview a few windows of an edit at several settings."),
    "batch": ("eve_cli.cli.batch:app", "Edit many videos with one model; resumable."),
    "batch-merge": ("eve_cli.cli.batch:merge_app", "Join the results of a batch's shards."),
    "resume": ("eve_cli.cli.edit:resume_app", "Resume an interrupted edit."),
    "rerun": ("eve_cli.cli.edit:rerun_app", "Repeat an edit exactly from its run.json."),
    "generate": ("eve_cli.cli.generate:generate_app", "Generate a video from a prompt."),
    "animate": ("eve_cli.cli.generate:animate_app", "Generate a video from an image with camera motion."),
    "subject": ("eve_cli.cli.generate:subject_app", "Generate a video of a subject from reference images."),
    "train": ("eve_cli.cli.train:app", "Train a VAE, a backbone, an adapter or a LoRA."),
    "align": ("eve_cli.cli.align:app", "Align a model's adapters by Factorized Diffusion Distillation (FDD)."),
    "eval": ("eve_cli.cli.eval:app", "Evaluate edits with the standard metrics and compare runs."),
    "bench": ("eve_cli.cli.bench:app", "Benchmark methods and models."),
    "rate": ("eve_cli.cli.rate:app", "Collect and analyse blind human ratings."),
    "models": ("eve_cli.cli.models:app", "List, download, verify, import and export models."),
    "doctor": ("eve_cli.cli.doctor:app", "Check that this machine can run an edit."),
    "env": ("eve_cli.cli.doctor:env_app", "Print environment information for bug reports."),
    "data": ("eve_cli.cli.data:app", "Check, show and generate training data."),
}


class LazyGroup(TyperGroup):
    """Lists all commands without importing them; imports the one that is called."""

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


def _version(show: bool) -> None:
    if show:
        console.result(f"eve {__version__}")
        raise typer.Exit()


@app.callback()
def eve(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Edit videos and images by instruction: eve edit input.mp4 "make it snowy".

    Every command takes --debug, which prints the traceback of an error.
    """


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    arguments = list(sys.argv[1:] if args is None else args)
    debug = _take_debug(arguments)
    console.prepare_streams()
    on_termination(raise_exit)
    with reported(debug) as status:
        status.outcome = typer.main.get_command(app).main(
            arguments or ["--help"], prog_name="eve", standalone_mode=False
        )
    sys.exit(status.code)


def run(arguments: list[str], *, debug: bool = False) -> int:
    """Run one command and return its exit code."""
    with reported(debug) as status:
        status.outcome = typer.main.get_command(app).main(arguments, prog_name="eve", standalone_mode=False)
    return status.code


@dataclass
class Status:
    """How a command ended."""

    outcome: Any = None

    @property
    def code(self) -> int:
        """The exit code."""
        return self.outcome if isinstance(self.outcome, int) else 0


@contextmanager
def reported(debug: bool = False) -> Iterator[Status]:
    """Turns an error into a one-line message and an exit code, or with `debug` into a traceback."""
    status = Status()
    try:
        yield status
    except KeyboardInterrupt:
        status.outcome = 130
    except BrokenPipeError:
        status.outcome = 1
    except TyperException as error:
        if debug:
            raise
        console.error(error.format_message())
        status.outcome = error.exit_code
    except Exception as error:
        if debug:
            raise
        message, status.outcome = describe(error)
        console.error(message)
    finally:
        console.end_progress()
        console.finish_stdout()


def _take_debug(arguments: list[str]) -> bool:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    debug = "--debug" in arguments[:end]
    if debug:
        arguments.remove("--debug")
    return debug
