"""Inputs as the user names them, resolved to a local file or pictures."""

from __future__ import annotations

import glob
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eve_cli.errors import InputError
from eve_cli.storage.paths import expanded, name_problem, special_kind

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff")
VIDEOS = (
    *(".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".gif", ".3gp", ".3g2", ".mts", ".m2ts", ".mxf", ".vob", ".dv"),
    *(".mpg", ".mpeg", ".m2v", ".ts", ".wmv", ".asf", ".flv", ".f4v", ".y4m", ".ogv", ".ogm", ".nut", ".rm", ".rmvb"),
)
"""Usual types of videos; files of other types can be videos too."""


@dataclass
class ResolvedInput:
    """A file to open, or pictures in order; `temporary` is removed by `close`."""

    name: str
    path: Path
    pictures: tuple[Path, ...] = ()
    temporary: list[Path] = field(default_factory=list)

    def close(self) -> None:
        """Remove what was spooled or converted."""
        for path in self.temporary:
            path.unlink(missing_ok=True)
        self.temporary.clear()


def natural(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts f_2 before f_10."""
    return [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"(\d+)", path.name)]


def resolve(source: str | os.PathLike[str]) -> ResolvedInput:
    """Resolve `source`: a file, "-" for standard input, a folder of pictures, or a glob of them."""
    name = os.fspath(source)
    if name == "-":
        return _spool()
    if problem := name_problem(name):
        raise InputError(f"{name}: {problem}")
    path = expanded(name)
    if not path.exists() and re.match(r"[a-z][a-z0-9+.-]+:", name, re.IGNORECASE):
        raise InputError(f"{name}: only files are opened, never addresses; download it first")
    if path.is_dir():
        return _pictures(f"{name.rstrip('/')}/", path, list(path.iterdir()))
    if not path.exists() and glob.has_magic(name):
        return _pictures(name, path, [Path(match) for match in glob.glob(name)])
    _check_readable(name, path)
    return ResolvedInput(name, path, (path,) if is_picture(name) else ())


def is_picture(name: str) -> bool:
    """Whether an input is one picture, by its name; animations are clips."""
    path = expanded(name)
    if path.suffix.lower() not in PICTURES or os.path.isdir(path):
        return False
    return not _is_animated(path) if os.path.isfile(path) else not glob.has_magic(name)


def _is_animated(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.format in ("PNG", "WEBP", "AVIF") and getattr(image, "n_frames", 1) > 1
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def _check_readable(name: str, path: Path) -> None:
    if kind := special_kind(path):
        raise InputError(f"{name}: is {kind}, and a clip is read several times; save it to a file first")
    try:
        with path.open("rb"):
            return
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except PermissionError:
        raise InputError(f"{name}: cannot read (permission denied)") from None
    except OSError as error:
        raise InputError(f"{name}: cannot read ({(error.strerror or 'unknown error').lower()})") from None


def _pictures(name: str, path: Path, candidates: Sequence[Path]) -> ResolvedInput:
    files = [each for each in candidates if not each.name.startswith(".") and each.is_file()]
    pictures = sorted((each for each in files if each.suffix.lower() in PICTURES), key=natural)
    if not pictures:
        raise InputError(f"{name}: no images found (png, jpg, webp)")
    return ResolvedInput(name, path, tuple(pictures))


def _spool() -> ResolvedInput:
    """Copy standard input to a file, since an index may come last and must be sought."""
    with tempfile.NamedTemporaryFile(prefix="eve-stdin-", delete=False) as file:
        shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
    path = Path(file.name)
    return ResolvedInput("standard input", path, temporary=[path])


class UnknownFormat(InputError):
    """PyAV cannot read the format; the ffmpeg program may."""


def why_unreadable(name: str, path: Path) -> InputError:
    """Why a file is not a video, from its first bytes."""
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        return InputError(f"{name}: not a video (the file is empty)")
    if _looks_like_text(head):
        line = head.decode("utf-8", "replace").strip().splitlines()[0][:40]
        page = ": a web page saved as .mp4?" if re.match(r"\s*<(!doctype html|html)", line, re.IGNORECASE) else ""
        return InputError(f'{name}: not a video (the file starts with "{line}"{page})')
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return InputError(
            f"{name}: the recording is incomplete (its index is missing), probably an interrupted download or a camera "
            "that lost power; get the file again"
        )
    return UnknownFormat(f"{name}: not a video (its format is not known)")


def _looks_like_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return False
        text = head[: error.start].decode("utf-8")
    return bool(text.strip()) and all(letter.isprintable() or letter.isspace() for letter in text)
