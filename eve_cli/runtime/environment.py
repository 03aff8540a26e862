"""The software that a result can depend on."""

from __future__ import annotations

import importlib.metadata
import platform

from eve_cli.version import __version__

LIBRARIES = ("torch", "diffusers", "transformers", "peft", "av", "numpy")


def versions() -> dict[str, str]:
    """The versions of eve, Python and the libraries that compute or read pixels."""
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"eve": __version__, "python": platform.python_version()} | libraries
