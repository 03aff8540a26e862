"""Names of files as the system and the shell take them, and the user's folders."""

import errno
import os
import shlex
import stat
import unicodedata
from pathlib import Path

from platformdirs import user_cache_path, user_state_path

LONGEST_NAME = 255
"""Bytes in the name of one file; the limit of all common file systems."""
KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


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
    return expanded(value) if (value := os.environ.get(name)) else None


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with `~/`, or `~NAME/` of a known user, replaced by the home folder; `~b.mp4` is a plain name."""
    return Path(os.path.expanduser(path))


def name_problem(path: str | os.PathLike[str]) -> str | None:
    """Why no file can have this path, such as "file name too long"; None if one can."""
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        return "no file name of this system can hold these characters"
    if b"\0" in encoded:
        return "a file name cannot hold a null character"
    longest = max(map(len, encoded.split(os.fsencode(os.sep))))
    return os.strerror(errno.ENAMETOOLONG).lower() if longest > LONGEST_NAME else None


def special_kind(path: Path) -> str | None:
    """What an existing path is if it is neither a file nor a folder: "a named pipe"; None otherwise."""
    try:
        return KINDS.get(stat.S_IFMT(path.stat().st_mode))
    except (OSError, ValueError):
        return None


def shortened(name: str, most: int) -> str:
    """The beginning of a name, at most so many bytes of UTF-8; bytes that are no UTF-8 are left out."""
    return os.fsencode(name)[:most].decode("utf-8", "ignore")


def is_visible(letter: str) -> bool:
    """Whether a letter can be shown: it is no control character, no line end, and no byte that is no UTF-8."""
    return unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp")


def shell_word(path: str | os.PathLike[str]) -> str:
    """A path as one word that a shell reads as this path and no program reads as an option."""
    text = os.fspath(path)
    text = f"./{text}" if text.startswith("-") else text
    if all(map(is_visible, text)):
        return shlex.quote(text)
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}" for byte in os.fsencode(text))
    return f"$'{''.join(plain)}'"
