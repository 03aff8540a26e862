"""One process at a time in a folder: a lock file that says which process works there, on which host, since when."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from eve_cli.errors import OutputError, UsageError

NAME = "lock.json"


class Lock:
    """A lock file with `pid`, `host` and `since`, held inside a `with` block; its folder is made if need be.

    The system ends the lock with its process, so what a killed process leaves is taken over. A lock of another host is
    respected until its file is deleted. Raises UsageError where another process holds it, OutputError where the file
    cannot be written. `subject` is what the message says is in use.
    """

    def __init__(self, path: Path, subject: str) -> None:
        self.path, self.subject = path, subject
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while not self._open():
                pass
        except OSError as error:
            raise OutputError(f"{self.path}: cannot write ({(error.strerror or str(error)).lower()}).") from error

    def release(self) -> None:
        """Give the lock back and remove its file, unless the file is gone."""
        if self._file is not None:
            file, self._file = self._file, None
            if _is_at(file, self.path):
                self.path.unlink(missing_ok=True)
            file.close()

    def _open(self) -> bool:
        """Whether the lock is taken; False where its file was removed meanwhile."""
        file = self.path.open("a+", encoding="utf-8")
        try:
            free = _flock(file)
            if free and not _is_at(file, self.path):
                return False
            file.seek(0)
            self._check(_content(file.read()), free)
            file.truncate(0)
            owner = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            file.write(json.dumps(owner))
            file.flush()
            self._file, file = file, None
        finally:
            if file is not None:
                file.close()
        return True

    def _check(self, owner: dict[str, Any], free: bool | None) -> None:
        """UsageError if the owner is at work; `free` is None where the file system knows no locks."""
        here = owner.get("host") == platform.node()
        if free is False or (owner and not here) or (owner and free is None and alive(owner.get("pid", 0))):
            who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')} since {owner.get('since', '?')}"
            remedy = f"or delete {self.path} if that process has ended" if owner and not here else "or end it"
            raise UsageError(f"{self.subject}: in use by {who}; wait for it, {remedy}.")


def alive(process: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _flock(file: TextIO) -> bool | None:
    """Whether the system gave this process the file's lock; None where the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _content(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
