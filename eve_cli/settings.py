"""Settings as frozen dataclasses: a field carries its help text; TOML files and run.json store its values."""

import dataclasses
import math
import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, field
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from eve_cli.errors import UsageError

Settings = TypeVar("Settings")


def setting(default: Any = MISSING, help: str = "", **extra: Any) -> Any:
    """A dataclass field with its help text.

    `extra` is for the command line: `flags` (tuple of option strings), `panel`, `metavar`, `min`, `max`, and
    `argument=True` for a positional argument. If some fields are `basic=True`, `--help` shows those alone.
    """
    return field(default=default, metadata={"help": help, **extra})


def field_types(settings: type) -> dict[str, Any]:
    """The resolved type of every field, by name."""
    hints = get_type_hints(settings)
    return {item.name: hints[item.name] for item in dataclasses.fields(settings)}


def from_mapping(settings: type[Settings], values: Mapping[str, Any], origin: str) -> Settings:
    """The settings in a mapping (a TOML file, a run.json); UsageError for unknown keys, wrong types and values."""
    fields = field_types(settings)
    for key in values:
        if key not in fields:
            close = get_close_matches(key, fields, n=1)
            suggestion = f"; did you mean {close[0]}?" if close else ""
            raise UsageError(f"{origin}: unknown setting {key!r}{suggestion}")
    converted = {key: _convert(value, fields[key], key, origin) for key, value in values.items()}
    every: Any = settings
    for item in dataclasses.fields(every):
        value, low, high = converted.get(item.name), item.metadata.get("min"), item.metadata.get("max")
        if value is not None and low is not None and value < low:
            raise UsageError(f"{origin}: {item.name} must be at least {low}, not {value}")
        if value is not None and high is not None and value > high:
            raise UsageError(f"{origin}: {item.name} must be at most {high}, not {value}")
    return settings(**converted)


def to_mapping(settings: Any) -> dict[str, Any]:
    """The values of a settings object as JSON can hold them; paths become strings, tables of settings mappings."""
    return {item.name: _plain_value(getattr(settings, item.name)) for item in dataclasses.fields(settings)}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: to_mapping(row) if dataclasses.is_dataclass(row) else row for key, row in value.items()}
    return str(value) if isinstance(value, Path) else value


def row_type(kind: Any) -> Any:
    """The settings class of the rows of a table, a setting of type `dict[str, Row]`; None for other types."""
    row = get_args(kind)[1] if get_origin(kind) is dict else None
    return row if dataclasses.is_dataclass(row) else None


def check_choices(settings: Any) -> None:
    """UsageError where a setting of a Literal type has another value than those of its type."""
    for name, kind in field_types(type(settings)).items():
        value = getattr(settings, name)
        if get_origin(kind) is Literal and value not in get_args(kind):
            choices = ", ".join(map(str, get_args(kind)))
            raise UsageError(f"--{name.replace('_', '-')} must be one of {choices}, not {value!r}.")


def _convert(value: Any, kind: Any, key: str, origin: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{origin}: {key} must be a finite number, not {value}")
    choices = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if value is None and type(None) in choices:
        return None
    for choice in choices:
        bare = get_origin(choice) or choice
        if bare is Literal and value in get_args(choice):
            return value
        if bare is Path and isinstance(value, (str, Path)):
            return Path(value)
        if bare is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if bare is tuple and isinstance(value, (list, tuple)):
            kinds = get_args(choice)
            kinds = kinds[:1] * len(value) if kinds[1:] == (...,) else kinds
            if len(kinds) == len(value):
                return tuple(_convert(item, kind, key, origin) for item, kind in zip(value, kinds, strict=True))
        if (row := row_type(choice)) and isinstance(value, Mapping):
            where = f"{origin}: {key}"
            return {
                name: item if isinstance(item, row) else from_mapping(row, _table(item, f"{where}.{name}"), where)
                for name, item in value.items()
            }
        if isinstance(bare, type) and isinstance(value, bare) and not (bare is int and isinstance(value, bool)):
            return value
    expected = " or ".join(_type_name(choice) for choice in choices if choice is not type(None))
    raise UsageError(f"{origin}: {key} must be {expected}, not {value!r}")


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} must be a table of settings, not {value!r}")
    return value


def _type_name(kind: Any) -> str:
    if get_origin(kind) in (tuple, dict):
        return "a list" if get_origin(kind) is tuple else "a table"
    if get_origin(kind) is Literal:
        return " or ".join(str(value) for value in get_args(kind))
    return getattr(kind, "__name__", str(kind))


def like(
    name: str,
    base: type,
    help: str,
    *,
    leave: Collection[str] = (),
    kinds: Mapping[str, Any] = MappingProxyType({}),
    own: Sequence[tuple[str, Any, Any]] = (),
    also: Sequence[tuple[str, Any, Any]] = (),
) -> type:
    """A settings class with the fields of another one except `leave`, some of its `own` before and `also` behind them.

    `kinds` replaces types of fields. Checks in `base.__post_init__` are not inherited.
    """
    types_of: dict[str, Any] = field_types(base) | dict(kinds)
    replaced = {field_name for field_name, _, _ in own} | set(leave)
    borrowed: list[tuple[str, Any, Any]] = [
        (item.name, types_of[item.name], field(default=item.default, metadata=_plain(item, kinds)))  # pyright: ignore
        for item in dataclasses.fields(base)
        if item.name not in replaced
    ]
    ordered = sorted([*own, *borrowed, *also], key=lambda row: row[2].default is not MISSING)
    settings_class = dataclasses.make_dataclass(name, ordered, frozen=True)
    settings_class.__doc__ = help
    return settings_class


def _plain(item: dataclasses.Field, kinds: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metadata of a field, without limits if its type is replaced."""
    limits = ("min", "max") if item.name in kinds else ()
    return {key: value for key, value in item.metadata.items() if key not in limits}
