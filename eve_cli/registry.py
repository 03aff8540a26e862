"""Tables of names and "package.module:object" strings, imported on first use."""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from eve_cli.errors import UsageError


def load(spec: str) -> Any:
    """The object that `package.module:object` names."""
    module, _, name = spec.partition(":")
    return getattr(import_module(module), name)


def pick(table: Mapping[str, Any], name: str, kind: str) -> Any:
    """The row `name` of a table, loaded if it is a string; UsageError with the closest name if there is none."""
    if name in table:
        return load(table[name]) if isinstance(table[name], str) else table[name]
    close = get_close_matches(name, table, n=1)
    suggestion = f" Did you mean {close[0]}?" if close else ""
    raise UsageError(f"There is no {kind} named {name!r}; known are: {', '.join(table)}.{suggestion}")
