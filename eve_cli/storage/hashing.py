"""Hashes of contents: of a file, a folder, or a value that JSON can hold."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

BLOCK = 1 << 20


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal; always reads the file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_sha256(path: Path) -> str:
    """The sha256 of a file, or of the names and contents of the files directly in a folder; in hexadecimal.

    What did not change size or time since this process read it last is not read again. Raises OSError.
    """
    files = sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]
    stamps = tuple((each.stat().st_ino, each.stat().st_mtime_ns, each.stat().st_size) for each in files)
    return _content_sha256(path.absolute(), tuple(file.absolute() for file in files), stamps)


@lru_cache(maxsize=1024)
def _content_sha256(path: Path, files: tuple[Path, ...], stamps: tuple[tuple[int, int, int], ...]) -> str:
    if files == (path,):
        return file_sha256(path)
    digest = hashlib.sha256()
    for file in files:
        digest.update(os.fsencode(file.name))
        with file.open("rb") as content:
            while part := content.read(1 << 20):
                digest.update(part)
    return digest.hexdigest()


def sampled_sha256(files: Iterable[Path]) -> str:
    """One sha256 over the size, the first and the last megabyte of each file, in order; names do not matter.

    For large videos: two that differ have other sizes, or other headers and ends. Raises OSError.
    """
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(size.to_bytes(8, "big"))
        with path.open("rb") as file:
            digest.update(file.read(BLOCK))
            file.seek(max(0, size - BLOCK))
            digest.update(file.read(BLOCK))
    return digest.hexdigest()


def json_sha256(value: Any) -> str:
    """The sha256 of a value that JSON can hold, in hexadecimal; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
