"""Settings as frozen dataclasses: a field carries its help text; TOML files and run.json store its values."""

import dataclasses
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
    """The values of a settings object, ready for JSON: paths become strings."""
    return {
        item.name: str(value) if isinstance(value := getattr(settings, item.name), Path) else value
        for item in dataclasses.fields(settings)
    }


def _convert(value: Any, kind: Any, key: str, origin: str) -> Any:
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
            return tuple(value)
        if isinstance(bare, type) and isinstance(value, bare) and not (bare is int and isinstance(value, bool)):
            return value
    expected = " or ".join(_named(choice) for choice in choices if choice is not type(None))
    raise UsageError(f"{origin}: {key} must be {expected}, not {value!r}")


def _named(kind: Any) -> str:
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
    taken = {field_name for field_name, _, _ in own} | set(leave)
    borrowed: list[tuple[str, Any, Any]] = [
        (item.name, types_of[item.name], field(default=item.default, metadata=_plain(item, kinds)))  # pyright: ignore
        for item in dataclasses.fields(base)
        if item.name not in taken
    ]
    ordered = sorted([*own, *borrowed, *also], key=lambda row: row[2].default is not MISSING)
    settings_class = dataclasses.make_dataclass(name, ordered, frozen=True)
    settings_class.__doc__ = help
    return settings_class


def _plain(item: dataclasses.Field, kinds: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metadata of a field, without limits if its type is replaced."""
    limits = ("min", "max") if item.name in kinds else ()
    return {key: value for key, value in item.metadata.items() if key not in limits}
