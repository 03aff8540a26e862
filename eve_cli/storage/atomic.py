"""A file that appears complete or not at all."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import threading
from pathlib import Path

from eve_cli.errors import OutputError


class AtomicFile:
    """A hidden file beside the target, made when `path` is first asked for; `commit` moves it to the target's place."""

    def __init__(self, name: str, overwrite: bool = True) -> None:
        self.name = name
        self.target = Path(os.path.realpath(Path(name).expanduser()))
        self._path: Path | None = None
        if not self.target.parent.is_dir():
            raise OutputError(f"{os.path.dirname(name) or '.'}/: folder does not exist")
        if self.target.is_dir():
            raise OutputError(f"{name}: is a folder; name a file in it")
        if self.target.exists() and not overwrite:
            raise OutputError(f"{name}: exists already; choose another name or allow it to be replaced")

    @property
    def path(self) -> Path:
        """The hidden file."""
        if self._path is None:
            self._sweep()
            prefix = f".{self.target.name}.{os.getpid()}."
            try:
                handle, path = tempfile.mkstemp(f".part{self.target.suffix}", prefix, self.target.parent)
            except PermissionError:
                raise OutputError(f"{self.name}: cannot write here (permission denied)") from None
            os.close(handle)
            self._path = Path(path)
            self._terminate = _raise_on_termination()
        return self._path

    def _sweep(self) -> None:
        """Remove what runs that died left for this target."""
        for path in self.target.parent.glob(f".{self.target.name}.*.part{self.target.suffix}"):
            owner = re.match(rf"\.{re.escape(self.target.name)}\.(\d+)\.", path.name)
            if owner and not _alive(int(owner[1])):
                path.unlink(missing_ok=True)

    def commit(self) -> None:
        """Make the hidden file durable and move it into place."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        self.path.chmod(0o666 & ~mask)
        os.replace(self.path, self.target)
        self._path = None
        self._calm()

    def discard(self) -> None:
        """Remove the hidden file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
            self._calm()

    def _calm(self) -> None:
        if self._terminate:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise_on_termination() -> bool:
    """Let SIGTERM leave `with` blocks as an exception, where nobody else handles it."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return False
    signal.signal(signal.SIGTERM, _leave)
    return True


def _leave(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
