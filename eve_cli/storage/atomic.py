"""Files and folders that appear complete or not at all: written to a hidden place beside the target, then renamed."""

from __future__ import annotations

import glob
import os
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eve_cli.errors import OutputError


class AtomicFile:
    """A hidden file beside the target, created when `path` is first read; `commit` moves it to the target's place."""

    def __init__(self, name: str, overwrite: bool = True) -> None:
        self.name = name
        self.target = Path(os.path.realpath(Path(name).expanduser()))
        self._path: Path | None = None
        if not self.target.parent.is_dir():
            raise OutputError(f"{os.path.dirname(name) or '.'}/: folder does not exist; create it first")
        if self.target.is_dir():
            raise OutputError(f"{name}: is a folder; name a file in it")
        if self.target.exists() and not overwrite:
            raise OutputError(f"{name}: exists already; choose another name or allow it to be replaced")

    @property
    def path(self) -> Path:
        """The hidden file."""
        if self._path is None:
            try:
                handle, path = tempfile.mkstemp(*_affixes(self.target), self.target.parent)
            except PermissionError:
                raise OutputError(f"{self.name}: cannot write here (permission denied)") from None
            os.close(handle)
            self._path = Path(path)
            self._terminate = _raise_on_termination()
        return self._path

    def commit(self) -> None:
        """Flush the hidden file to the disk and move it into place."""
        flush(self.path)
        self.path.chmod(0o666 & ~_umask())
        os.replace(self.path, self.target)
        self._path = None
        self._restore_signal()

    def discard(self) -> None:
        """Remove the hidden file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
            self._restore_signal()

    def _restore_signal(self) -> None:
        if self._terminate:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


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
    """Write a text as UTF-8 with its line ends as they are, complete or not at all; OutputError where that fails."""
    write_bytes(path, text.encode())


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
                file.chmod(0o666 & ~_umask())  # safetensors writes files that only their owner can read
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
    folder.chmod(0o777 & ~_umask())
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
    """Make the system write a file, or the names in a folder, to the disk now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _affixes(target: Path) -> tuple[str, str]:
    """Suffix and prefix of hidden names for a target; removes what dead processes left under such names."""
    suffix = f".part{target.suffix}"
    for path in target.parent.glob(f".{glob.escape(target.name)}.*{glob.escape(suffix)}"):
        owner = re.match(rf"\.{re.escape(target.name)}\.(\d+)\.", path.name)
        if owner and not _alive(int(owner[1])):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return suffix, f".{target.name}.{os.getpid()}."


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _raise_on_termination() -> bool:
    """Let SIGTERM leave `with` blocks as an exception, unless it has another handler."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return False
    signal.signal(signal.SIGTERM, _exit)
    return True


def _exit(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
