"""A settings dataclass becomes the options of a command; `--config FILE.toml` fills it, flags win over the file."""

import dataclasses
import inspect
import shlex
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperOption

from eve_cli.errors import UsageError
from eve_cli.settings import field_types, from_mapping

Settings = TypeVar("Settings")


def add_command(
    app: typer.Typer,
    name: str,
    settings: type[Settings],
    run: Callable[[Settings], None],
    help: str | None = None,
    recipe: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda chosen: {},
) -> None:
    """Adds a command to a Typer app whose arguments and options are the fields of `settings`.

    `recipe` tells values to start from, by what was given; what was given wins over them.
    """

    def entry(ctx: typer.Context, config: Path | None = None, help_all: bool = False, **values: Any) -> None:
        given = {key: value for key, value in values.items() if _was_given(ctx, key)}
        from_file = read_toml(config) if config is not None else {}
        chosen = {**from_file, **given}
        run(from_mapping(settings, {**recipe(chosen), **chosen}, str(config or "command line")))

    entry.__signature__ = inspect.Signature(_parameters(settings))  # type: ignore[attr-defined]
    entry.__annotations__ = {item.name: item.annotation for item in _parameters(settings)}
    entry.__doc__ = help or inspect.getdoc(settings)
    app.command(name)(entry)


def _show_all(ctx: typer.Context, value: bool) -> None:
    """Prints the help with all options and exits."""
    if value and not ctx.resilient_parsing:
        for parameter in ctx.command.params:
            if isinstance(parameter, TyperOption):
                parameter.hidden = False
        typer.echo(ctx.get_help(), color=ctx.color)
        raise typer.Exit()


def _has_basic(settings: type) -> bool:
    return any(item.metadata.get("basic") for item in dataclasses.fields(settings))


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file; UsageError if it is missing or malformed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot read this config file ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid TOML ({error})") from error


def _was_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _parameters(settings: type) -> list[inspect.Parameter]:
    hints = field_types(settings)
    parameters = [_parameter("ctx", typer.Context, MISSING)]
    for item in dataclasses.fields(settings):
        if not item.metadata.get("hidden"):
            declaration = _declaration(item, hidden=_has_basic(settings) and not item.metadata.get("basic"))
            parameters.append(_parameter(item.name, Annotated[hints[item.name], declaration], item.default))
    config = typer.Option("--config", help="Take settings from a TOML file; flags win.", metavar="FILE")
    parameters.append(_parameter("config", Annotated[Path | None, config], None))
    if _has_basic(settings):
        show_all = typer.Option("--help-all", help="Show all options and exit.", is_eager=True, callback=_show_all)
        parameters.append(_parameter("help_all", Annotated[bool, show_all], False))
    return parameters


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    empty = inspect.Parameter.empty
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=empty if default is MISSING else default, annotation=annotation
    )


def _declaration(item: dataclasses.Field, hidden: bool) -> Any:
    extra = item.metadata
    shared: dict[str, Any] = {
        "help": extra.get("help"),
        "metavar": extra.get("metavar"),
        "min": extra.get("min"),
        "max": extra.get("max"),
    }
    if extra.get("argument"):
        return typer.Argument(**shared)
    return typer.Option(
        *_flags(item),
        **shared,
        rich_help_panel=extra.get("panel"),
        show_default=item.default is not None,
        hidden=hidden,
    )


def _flags(item: dataclasses.Field) -> tuple[str, ...]:
    name = _dashed(item)
    return item.metadata.get("flags", (f"--{name}/--no-{name}" if item.default is True else f"--{name}",))


def _dashed(item: dataclasses.Field) -> str:
    return item.name.replace("_", "-")


def command_line(name: str, settings: Any, leave: Sequence[str] = ()) -> str:
    """The words to type for these settings: what is as by default, or named in `leave`, is left out."""
    arguments, words = [], []
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if item.metadata.get("argument"):
            arguments.append(str(value))
        elif value != item.default and item.name not in leave:
            flag = f"--no-{_dashed(item)}" if value is False else _flags(item)[0].split("/")[0]
            words += [flag] if isinstance(value, bool) else [flag, str(value)]
    guard = ["--"] if any(word.startswith("-") for word in arguments) else []
    return shlex.join(["eve", name, *words, *guard, *arguments] if guard else ["eve", name, *arguments, *words])
