"""Options that belong to methods: fields of an edit's request, None unless given, refused for other methods.

Methods may share the name of an option; its type is then the same for all of them, its default need not be.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from eve_cli import registry
from eve_cli.errors import UsageError
from eve_cli.methods.options.base import MethodOptions
from eve_cli.methods.options.table import OPTIONS
from eve_cli.settings import field_types, from_mapping, setting

if TYPE_CHECKING:
    from eve_cli.editing.request import EditRequest

Carrier = TypeVar("Carrier")


@cache
def owners() -> dict[str, tuple[str, ...]]:
    """The methods that have an option, by the option's name."""
    found: dict[str, tuple[str, ...]] = {}
    for method in OPTIONS:
        for item in dataclasses.fields(options_class(method)):
            found[item.name] = (*found.get(item.name, ()), method)
    return found


def options_class(method: str) -> type[MethodOptions]:
    """The class of a method's options; one without fields if it has none."""
    return registry.load(OPTIONS[method]) if method in OPTIONS else MethodOptions


def carries_options(carrier: type[Carrier]) -> type[Carrier]:
    """Gives a class that is to become a dataclass a field for each option of the methods, None unless given."""
    for name, methods in owners().items():
        if name in carrier.__annotations__:
            raise TypeError(f"--{_flag(name)} of {methods[0]} is an option of all methods already.")
        carrier.__annotations__[name] = field_types(options_class(methods[0]))[name] | None
        setattr(carrier, name, setting(None, **_shown(name, methods)))
    return carrier


def options_of(request: EditRequest) -> MethodOptions:
    """The options of a request's method; UsageError for one that belongs to another method, or is wrong."""
    given = {name: value for name in owners() if (value := getattr(request, name)) is not None}
    for name in given:
        if request.method not in (methods := owners()[name]):
            raise UsageError(f"--{_flag(name)} goes with --method {' or '.join(methods)}, not with {request.method}.")
    options = from_mapping(options_class(request.method), given, f"--method {request.method}")
    options.check(request)
    return options


def _shown(name: str, methods: tuple[str, ...]) -> dict[str, Any]:
    """How the command line shows an option: the first method's words and bounds, everyone's defaults."""
    items = {m: next(i for i in dataclasses.fields(options_class(m)) if i.name == name) for m in methods}
    first, flag = items[methods[0]], _flag(name)
    defaults = {method: item.default for method, item in items.items() if item.default not in (None, False)}
    told = ", ".join(dict.fromkeys(str(value) for value in defaults.values()))
    if len(set(defaults.values())) > 1 or len(defaults) < len(methods):
        told = ", ".join(f"{value} for {method}" for method, value in defaults.items())
    help = first.metadata["help"] + (f" (default: {told})" if defaults and first.default is not True else "")
    flags = (f"--{flag}/--no-{flag}" if first.default is True else f"--{flag}",)
    alone = len(methods) == 1
    return {
        "flags": flags,
        **first.metadata,
        "help": help if alone else f"{', '.join(methods)}: {help}",
        "panel": f"Method {methods[0]}" if alone else "Several methods",
    }


def _flag(name: str) -> str:
    return name.replace("_", "-")
