"""Files and folders that appear complete or not at all: written to a hidden place beside the target, then renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from eve_cli.errors import OutputError
from eve_cli.storage.lock import alive
from eve_cli.storage.paths import expanded, name_problem, special_kind

NOT_SUPPORTED = (errno.EINVAL, errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP, errno.EBADF)
"""Errors of file systems that cannot flush; the data is written all the same."""


class AtomicFile:
    """A hidden file beside the target, created when `path` is first read; `commit` moves it to the target's place."""

    def __init__(self, name: str, overwrite: bool = True) -> None:
        self.name = name
        if problem := name_problem(name):
            raise OutputError(f"{name}: {problem}; choose another name")
        self.target = Path(os.path.realpath(expanded(name)))
        self._path: Path | None = None
        self._signals: list[signal.Signals] = []
        if not self.target.parent.is_dir():
            raise OutputError(f"{os.path.dirname(name) or '.'}/: folder does not exist; create it first")
        if self.target.is_dir():
            raise OutputError(f"{name}: is a folder; name a file in it")
        if kind := special_kind(self.target):
            raise OutputError(f"{name}: is {kind}; name a file")
        if self.target.exists() and not overwrite:
            raise OutputError(f"{name}: exists already; choose another name or allow it to be replaced")

    @property
    def path(self) -> Path:
        """The hidden file."""
        if self._path is None:
            try:
                handle, path = tempfile.mkstemp(*_affixes(self.target), self.target.parent)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise OutputError(f"{self.name}: cannot write here ({reason})") from None
            os.close(handle)
            self._path = Path(path)
            self._signals = _raise_on_termination()
        return self._path

    def commit(self) -> None:
        """Flush the hidden file to the disk and move it into place."""
        flush(self.path)
        _set_mode(self.path, 0o666)
        os.replace(self.path, self.target)
        self._path = None
        self._restore_signals()

    def discard(self) -> None:
        """Remove the hidden file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
            self._restore_signals()

    def _restore_signals(self) -> None:
        for number in self._signals:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def atomic_file(path: str | os.PathLike[str], overwrite: bool = True) -> Iterator[Path]:
    """A hidden file to write; it takes the place of `path` at the end of the block, or is removed after an error.

    Raises OutputError where the file cannot be written; other errors of the block are passed on.
    """
    file = AtomicFile(os.fspath(path), overwrite)
    try:
        yield file.path
        file.commit()
    except OSError as error:
        file.discard()
        raise OutputError(f"{path}: cannot write ({(error.strerror or str(error)).lower()}).") from error
    except BaseException:
        file.discard()
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, complete or not at all; OutputError where that fails."""
    with atomic_file(path) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8 with its line ends as they are, complete or not at all; OutputError where that fails.

    What stands for bytes of a file name that are no UTF-8 is written as an escape such as \\udce9, as JSON has them.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A hidden folder to fill; it takes the place of `path` at the end of the block, or is removed after an error.

    All files are flushed to the disk and get the permissions of the umask. Raises OSError.
    """
    fresh, old = hidden_folder(path), None
    try:
        yield fresh
        for file in fresh.rglob("*"):
            if file.is_file():
                _set_mode(file, 0o666)  # safetensors writes files that only their owner can read
            flush(file)
        flush(fresh)
        if path.exists():
            old = hidden_folder(path)
            os.replace(path, old)
        os.replace(fresh, path)
        flush(path.parent)
    finally:
        for folder in filter(None, (fresh, old)):
            shutil.rmtree(folder, ignore_errors=True)


def hidden_folder(target: Path) -> Path:
    """A new hidden folder beside a target; it has the permissions of the umask."""
    folder = Path(tempfile.mkdtemp(*_affixes(target), target.parent))
    _set_mode(folder, 0o777)
    return folder


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name: a hard link, or a copy across disks. OutputError where it cannot be written."""
    source = source.resolve()
    try:
        os.link(source, target)
    except OSError:
        with atomic_file(target) as part:
            shutil.copyfile(source, part)


def flush(path: Path) -> None:
    """Make the system write a file, or the names in a folder, to the disk now, where the file system can do that."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise


def _affixes(target: Path) -> tuple[str, str]:
    """Suffix and prefix of hidden names for a target; removes what dead processes left under such names.

    A prefix has the hash of the host and the target's name, and the process: names stay short, and other hosts' files
    are left alone.
    """
    suffix = f".part{target.suffix}" if len(os.fsencode(target.suffix)) <= 16 else ".part"
    digest = hashlib.sha256(os.fsencode(f"{platform.node()}/{target.name}")).hexdigest()[:12]
    with suppress(OSError):
        for path in target.parent.glob(f".{digest}.*.part*"):
            owner = re.match(rf"\.{digest}\.(\d+)\.", path.name)
            if owner and not alive(int(owner[1])):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return suffix, f".{digest}.{os.getpid()}."


def _set_mode(path: Path, mode: int) -> None:
    """Give a file the permissions of the umask; file systems without permissions may refuse."""
    with suppress(OSError):
        path.chmod(mode & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _raise_on_termination() -> list[signal.Signals]:
    """Let SIGTERM and SIGHUP leave `with` blocks as an exception, where nobody else handles them."""
    return on_termination(raise_exit) if threading.current_thread() is threading.main_thread() else []


def on_termination(handler: Callable[[int, object], object]) -> list[signal.Signals]:
    """Handle the signals that end a process, unless they have a handler or are ignored (`nohup`); returns those."""
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, handler)
    return numbers


def raise_exit(number: int, frame: object) -> NoReturn:
    """A handler of signals: SystemExit with the code that shells give to a process ended by one."""
    raise SystemExit(128 + number)
