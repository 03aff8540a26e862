"""A settings dataclass becomes the options of a command; `--config FILE.toml` fills it, flags win over the file."""

import dataclasses
import inspect
import shlex
import tomllib
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import typer
from typer.core import TyperOption

from eve_cli.errors import UsageError
from eve_cli.settings import field_types, from_mapping, row_type

Settings = TypeVar("Settings")


def add_command(
    app: typer.Typer,
    name: str,
    settings: type[Settings],
    run: Callable[[Settings], None],
    help: str | None = None,
    recipe: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda settings: {},
) -> None:
    """Adds a command to a Typer app whose arguments and options are the fields of `settings`.

    A setting of type `tuple[str, ...]` is a flag that may be repeated, or given once with commas. One of type
    `dict[str, Row]`, a table of settings, is a flag `--table-setting NAME=VALUE` for each setting of a row, which may
    be repeated, and a TOML table `[table.NAME]`. `recipe` returns values to start from; file and flags win over them.
    """

    def entry(ctx: typer.Context, config: Path | None = None, help_all: bool = False, **values: Any) -> None:
        flags = _nested(settings, {key: value for key, value in values.items() if _is_from_command_line(ctx, key)})
        merged = _merged(read_toml(config) if config is not None else {}, flags)
        run(from_mapping(settings, {**recipe(merged), **merged}, str(config or "command line")))

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


def _nested(settings: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of flags with the `NAME=VALUE` flags of tables gathered by name, and lists split at commas."""
    nested, kinds = dict(values), field_types(settings)
    for item in dataclasses.fields(settings):
        for name, part, kind in _columns(item, kinds[item.name]):
            for text in nested.pop(name, ()):
                key, value = _pair(_flags(part, item.name)[0], text, kind, part.metadata["metavar"])
                row = nested.setdefault(item.name, {}).setdefault(key, {})
                if part.name in row:
                    raise UsageError(f"{_flags(part, item.name)[0]} names {key} twice.")
                row[part.name] = value
        if kinds[item.name] == tuple[str, ...] and item.name in nested:
            items = [word.strip() for text in nested[item.name] for word in text.split(",")]
            nested[item.name] = tuple(filter(None, items))
    return nested


def _columns(item: dataclasses.Field, kind: Any) -> Iterator[tuple[str, dataclasses.Field, Any]]:
    """The settings of a table's rows: parameter name, field and type; none if the setting is no table."""
    if row := row_type(kind):
        for part in dataclasses.fields(row):
            yield f"{item.name}_{part.name}", part, field_types(row)[part.name]


def _pair(flag: str, text: str, kind: Any, metavar: str) -> tuple[str, Any]:
    """Name and value of `NAME=VALUE`, the value of a type; UsageError where it has another form."""
    key, equals, value = text.partition("=")
    try:
        if not equals or not key:
            raise ValueError
        return key, _parsed(value, kind)
    except ValueError:
        raise UsageError(f"{flag} must look like {metavar}, not {text!r}.") from None


def _parsed(text: str, kind: Any) -> Any:
    """A text as a value of a type: a number, a tuple with colons between its items, or the text itself."""
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(choice for choice in get_args(kind) if choice is not type(None))
    if get_origin(kind) is tuple:
        return tuple(_parsed(part, of) for part, of in zip(text.split(":"), get_args(kind), strict=True))
    return kind(text) if kind in (int, float) else text


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested mappings as one; `above` wins."""
    both = {
        key: _merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
    }
    return {**below, **above, **both}


def _is_from_command_line(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _parameters(settings: type) -> list[inspect.Parameter]:
    hints = field_types(settings)
    parameters = [_parameter("ctx", typer.Context, MISSING)]
    for item in dataclasses.fields(settings):
        kind = hints[item.name]
        hidden = _has_basic(settings) and not item.metadata.get("basic")
        for name, part, _ in _columns(item, kind):
            declaration = _declaration(part, item.name, hidden=hidden)
            parameters.append(_parameter(name, Annotated[list[str] | None, declaration], None))
        declaration = _declaration(item, hidden=hidden)
        if kind == tuple[str, ...]:
            default = list(getattr(settings, item.name))
            parameters.append(_parameter(item.name, Annotated[list[str], declaration], default))
        elif not item.metadata.get("hidden") and not row_type(kind):
            parameters.append(_parameter(item.name, Annotated[kind, declaration], item.default))
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


def _declaration(item: dataclasses.Field, table: str = "", *, hidden: bool = False) -> Any:
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
        *_flags(item, table),
        **shared,
        rich_help_panel=extra.get("panel"),
        show_default=item.default is not None,
        hidden=hidden,
    )


def _flags(item: dataclasses.Field, table: str = "") -> tuple[str, ...]:
    name = f"{table}-{_dashed(item)}" if table else _dashed(item)
    return item.metadata.get("flags", (f"--{name}/--no-{name}" if item.default is True else f"--{name}",))


def _dashed(item: dataclasses.Field) -> str:
    return item.name.replace("_", "-")


def command_line(name: str, settings: Any, leave: Sequence[str] = ()) -> str:
    """The words to type for these settings: what is as by default, or named in `leave`, is left out."""
    arguments, flags = [], []
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if item.metadata.get("argument"):
            arguments.append(str(value))
        elif value != item.default and item.name not in leave:
            flag = f"--no-{_dashed(item)}" if value is False else _flags(item)[0].split("/")[0]
            flags += [flag] if isinstance(value, bool) else [flag, str(value)]
    separator = ["--"] if any(argument.startswith("-") for argument in arguments) else []
    return shlex.join(["eve", name, *flags, *separator, *arguments] if separator else ["eve", name, *arguments, *flags])
