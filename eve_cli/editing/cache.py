"""Where what was computed once is kept for later: the user's own cache folder, or the one that EVE_CACHE names."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor

from eve_cli.editing.folder import write_atomically
from eve_cli.errors import OutputError

VARIABLE = "EVE_CACHE"


def folder() -> Path:
    """The cache folder, which need not exist yet."""
    if given := os.environ.get(VARIABLE):
        return Path(given).expanduser()
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "eve" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "eve"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eve"


def remembered(kind: str, key: str, make: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    """The tensors kept under a key, or those that `make` gives, which are then kept.

    A damaged file is made again; where nothing can be written, nothing is kept.
    """
    path = folder() / kind / f"{key}.safetensors"
    if path.is_file():
        try:
            return load_file(path)
        except Exception:  # safetensors raises errors of its own, and of the system
            path.unlink(missing_ok=True)
    made = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save({name: value.cpu().contiguous() for name, value in made.items()}))
    except (OSError, OutputError):
        pass
    return made
