"""Instruction-based video editing: `import eve_cli as eve`, then `eve.edit("input.mp4", "make it snowy")`.

Importing this package imports no torch; its functions are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eve_cli.version import __version__

if TYPE_CHECKING:
    from eve_cli.api import EditResult, align, edit, evaluate, generate, load_model, plan

__all__ = ["EditResult", "__version__", "align", "edit", "evaluate", "generate", "load_model", "plan"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from eve_cli import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
