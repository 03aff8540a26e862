"""What can be computed again: tensors and small JSON values, kept in files named by all that they depend on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from eve_cli.errors import OutputError
from eve_cli.storage.atomic import write_bytes, write_text
from eve_cli.storage.headers import utf8_name
from eve_cli.storage.paths import cache

Tensors = Mapping[str, Tensor]
_latest: dict[Path, Tensors] = {}
"""The last tensors that `user_cached` could not write."""


def cached(path: Path, compute: Callable[[], Tensors]) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or else those of `compute`, on the CPU, which are then written to it.

    A damaged file is computed again. Raises OutputError where the file cannot be written.
    """
    tensors = _load(path)
    return _store(path, compute()) if tensors is None else tensors


def user_cached(kind: str, key: str, compute: Callable[[], Tensors]) -> Tensors:
    """`cached` in the folder `kind` of the user's cache; where that cannot be written, the last stay in memory."""
    path = cache() / kind / f"{key}.safetensors"
    if path in _latest:
        return _latest[path]
    stored = _load(path)
    if stored is not None:
        return stored
    tensors = compute()
    try:
        return _store(path, tensors)
    except OutputError:
        _latest.clear()
        _latest[path] = tensors
        return tensors


class JsonTable:
    """JSON values by key in one file; the `limit` latest are kept. A missing or damaged file is an empty table."""

    def __init__(self, path: Path, limit: int) -> None:
        self.path, self.limit = path, limit

    def get(self, key: str) -> Any:
        """The value of a key, or None."""
        return self._rows().get(key)

    def set(self, key: str, value: Any) -> None:
        """Keeps a value as the latest; a folder that cannot be written is no reason to fail."""
        rows = {name: row for name, row in self._rows().items() if name != key} | {key: value}
        with suppress(OSError, OutputError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, json.dumps(dict([*rows.items()][-self.limit :])))

    def _rows(self) -> dict[str, Any]:
        try:
            rows = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return rows if isinstance(rows, dict) else {}


def _load(path: Path) -> dict[str, Tensor] | None:
    try:
        with utf8_name(path) as name:
            return load_file(name) if path.is_file() else None
    except Exception:  # safetensors raises errors of its own, and of the system
        with suppress(OSError):
            path.unlink()
        return None


def _store(path: Path, content: Tensors) -> dict[str, Tensor]:
    tensors = {name: value.detach().cpu().contiguous() for name, value in content.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path.parent}: cannot make this folder ({(error.strerror or str(error)).lower()})."
        ) from error
    write_bytes(path, save(tensors))
    return tensors
