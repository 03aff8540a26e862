"""Folders of pictures and videos with captions.

A caption is the text of `name.txt` beside `name.jpg`, or a row of `captions.csv`, `captions.jsonl`,
`metadata.csv` or `metadata.jsonl` in the folder, with columns `file` (or `file_name`) and `caption` (or `text`).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eve_cli.data.sample import Dropped, Item, Listing, kind_of
from eve_cli.errors import InputError
from eve_cli.storage import jsonl

TABLES = ("captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl")


def scan(folder: Path, *, caption_needed: bool = True, deep: bool = False) -> Listing[Item]:
    """The pictures and videos below a folder, in the order of their names; hidden ones are passed over.

    Without `caption_needed` a missing caption is empty. With `deep` every file is opened, and one that cannot be
    read is dropped. InputError if the folder is missing or a table names a file that is not there.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.")
    captions = _captions(folder)
    items: list[Item] = []
    dropped: list[Dropped] = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file() or path.name in TABLES or path.suffix == ".txt":
            continue
        item = Item(path, captions.get(path.resolve(), "") or _beside(path), kind_of(path) or "picture")
        reason = _fault(item, caption_needed, deep)
        if reason:
            dropped.append(Dropped(str(path.relative_to(folder)), reason))
        else:
            items.append(item)
    return Listing(items, dropped)


def pictures(paths: Sequence[Path], needed: str) -> list[Item]:
    """The pictures that files, or one folder, hold, with the captions beside them; InputError if there is none.

    `needed` says in the error how many there should be.
    """
    if len(paths) == 1 and not paths[0].is_file():
        items = [item for item in scan(paths[0], caption_needed=False).items if item.kind == "picture"]
        if not items:
            raise InputError(f"{paths[0]} holds no picture: give a folder with {needed} of them.")
        return items
    for path in paths:
        if not path.is_file() or kind_of(path) != "picture":
            raise InputError(f"{path} is no picture: name {needed} pictures, or one folder of them.")
    return [Item(path, _beside(path), "picture") for path in paths]


def unreadable(path: Path) -> str | None:
    """Why a picture or video cannot be used, or None; reads its first frame."""
    from eve_cli.data.frames import read

    try:
        read(path, 1)
    except InputError as error:
        return f"cannot be read: {_short(str(error), path)}"
    return None


def _fault(item: Item, caption_needed: bool, deep: bool) -> str | None:
    if kind_of(item.path) is None:
        return f"no picture or video ({item.path.suffix or 'no ending'})"
    if caption_needed and not item.caption:
        return "no caption"
    return unreadable(item.path) if deep else None


def _short(text: str, path: Path) -> str:
    return text.replace(str(path), "it").rstrip(".")


def _beside(path: Path) -> str:
    text = path.with_suffix(".txt")
    try:
        return " ".join(text.read_text(encoding="utf-8").split()) if text.is_file() else ""
    except UnicodeDecodeError:
        raise InputError(f"{text} is not UTF-8 text.") from None


def _captions(folder: Path) -> dict[Path, str]:
    found: dict[Path, str] = {}
    for name in TABLES:
        table = folder / name
        if not table.is_file():
            continue
        for number, row in _rows(table):
            file, caption = row.get("file") or row.get("file_name"), row.get("caption") or row.get("text")
            if not isinstance(file, str) or not isinstance(caption, str | None):
                raise InputError(f"{table}:{number}: a row needs `file` and `caption`, as text.")
            path = (folder / file).resolve()
            if not path.is_file():
                raise InputError(f"{table}:{number}: there is no file {file!r}.")
            found[path] = " ".join((caption or "").split())
    return found


def _rows(table: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if table.suffix != ".csv":
        yield from jsonl.read(table)
        return
    with table.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text)
        for row in reader:
            yield reader.line_num, row
