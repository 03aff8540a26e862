"""What was computed once, kept for later in the user's cache folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor

from eve_cli.editing.run_dir import write_atomically
from eve_cli.errors import OutputError
from eve_cli.storage.paths import cache

HELD: dict[Path, Mapping[str, Tensor]] = {}
"""The last that could not be written."""


def remembered(kind: str, key: str, make: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    """The tensors kept under a key, or those that `make` gives, which are then kept.

    A damaged file is made again; where nothing can be written, this process alone keeps the last.
    """
    path = cache() / kind / f"{key}.safetensors"
    if path in HELD:
        return HELD[path]
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
        HELD.clear()
        HELD[path] = made
    return made
