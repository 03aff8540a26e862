"""Where eve keeps things of its own on a machine: what it learned of the machine, and what it can make again."""

import os
import sys
from pathlib import Path


def state() -> Path:
    """The folder of past runs: EVE_STATE, else the system's place for such things."""
    return _place("EVE_STATE", "XDG_STATE_HOME", ".local/state")


def cache() -> Path:
    """The folder of what can be deleted at any time: EVE_CACHE, else the system's place for such things."""
    return _place("EVE_CACHE", "XDG_CACHE_HOME", ".cache")


def _place(own: str, shared: str, usual: str) -> Path:
    if os.environ.get(own):
        return Path(os.environ[own]).expanduser()
    if os.environ.get(shared):
        return Path(os.environ[shared]) / "eve"
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "eve"
    return Path.home() / usual / "eve"
