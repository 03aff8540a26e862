"""Folders of pictures and videos with captions.

A caption is the text of `name.txt` beside `name.jpg`, or a row of a table in the folder (`captions.csv`,
`captions.jsonl`, `metadata.csv`, `metadata.jsonl`, `metadata.parquet`) that names the file and the caption.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from eve_cli.data import tables
from eve_cli.data.sample import Dropped, Item, Listing, kind_of
from eve_cli.errors import InputError
from eve_cli.storage import jsonl

TABLES = ("captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl", "metadata.parquet")
OTHERS = ("inputs.jsonl", "clips.jsonl", "captions.failed.jsonl", "inputs.failed.jsonl", "dataset.toml")
"""Files that lie among the videos and are none."""
COLUMNS = {
    "file": ("file", "file_name", "video_path", "video", "path", "file_path", "image_path", "image", "output"),
    "caption": ("caption", "text", "prompt", "output_caption"),
    "control": ("control_path", "control_file_path", "vace_video", "input", "input_file_name"),
    "instruction": ("instruction", "edit_instruction"),
    "input_caption": ("input_caption", "source_caption"),
}
"""The names of columns in tables of captions: those of eve, the Hub, musubi-tuner, VideoX-Fun and DiffSynth-Studio."""


def scan(folder: Path, *, caption_needed: bool = True, deep: bool = False, caption_type: str = ".txt") -> Listing[Item]:
    """The pictures and videos below a folder, in the order of their names; hidden ones are passed over.

    Without `caption_needed` a missing caption is empty; `caption_type` is the ending of text files beside them. With
    `deep` every file is opened, and one that cannot be read is dropped. InputError if the folder is missing or a table
    names a file that is not there.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.")
    captions = _captions(folder)
    items: list[Item] = []
    dropped: list[Dropped] = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file() or path.name in (*TABLES, *OTHERS) or path.suffix in (".txt", caption_type):
            continue
        caption = captions.get(path.resolve(), "") or _beside(path, caption_type)
        item = Item(path, caption, kind_of(path) or "picture")
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


def _beside(path: Path, caption_type: str = ".txt") -> str:
    text = path.with_suffix(caption_type)
    try:
        return " ".join(text.read_text(encoding="utf-8").split()) if text.is_file() else ""
    except UnicodeDecodeError:
        raise InputError(f"{text} is not UTF-8 text.") from None


def _captions(folder: Path) -> dict[Path, str]:
    found: dict[Path, str] = {}
    for table in (folder / name for name in TABLES):
        if not table.is_file():
            continue
        for number, file, caption in _rows(table):
            path = folder / file
            if not path.is_file():
                raise InputError(f"{table}:{number}: there is no file {file!r}.")
            found[path.resolve()] = caption
    return found


def _rows(table: Path) -> Iterator[tuple[int, str, str]]:
    """Number, file and caption of each row."""
    rows = list(jsonl.read(table)) if table.suffix == ".jsonl" else list(enumerate(tables.read(table), 2))
    if not rows:
        return
    columns = tables.match(table, list({name: None for _, row in rows for name in row}), COLUMNS, needed=("file",))
    for number, row in rows:
        file, caption = row.get(columns["file"]), row.get(columns.get("caption", ""))
        if not isinstance(file, str) or not file or not isinstance(caption, str | None):
            raise InputError(f"{table}:{number}: a row needs `file` and `caption`, as text.")
        yield number, file, " ".join((caption or "").split())
