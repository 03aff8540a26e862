"""The user's folders: measurements of this machine, caches that can be recomputed, and models."""

import os
from pathlib import Path

from platformdirs import user_cache_path, user_state_path


def state() -> Path:
    """The folder of past runs: EVE_STATE, else the system's folder for state (XDG_STATE_HOME)."""
    return _from_environment("EVE_STATE") or user_state_path("eve", appauthor=False)


def cache() -> Path:
    """The folder of what can be deleted at any time: EVE_CACHE, else the system's cache folder (XDG_CACHE_HOME)."""
    return _from_environment("EVE_CACHE") or user_cache_path("eve", appauthor=False)


def models() -> Path:
    """The folder of pulled and imported models: EVE_MODELS, else `models` in the system's cache folder."""
    return _from_environment("EVE_MODELS") or user_cache_path("eve", appauthor=False) / "models"


def _from_environment(name: str) -> Path | None:
    return Path(value).expanduser() if (value := os.environ.get(name)) else None
