"""Data as other trainers have it, read as it is: captioned clips, or triplets where there are control videos.

| trainer | what is read |
|---|---|
| musubi-tuner | a TOML file with `[[datasets]]`, or its JSON lines (`video_path`, `control_path`, `caption`) |
| diffusion-pipe | a TOML file with `[[directory]]` |
| finetrainers | a folder with `prompts.txt` and `videos.txt`, line by line |
| VideoX-Fun, DiffSynth-Studio | a JSON list or a csv with the paths of clips |
| Hugging Face VideoFolder | a folder with `metadata.csv`, `.jsonl` or `.parquet` |
| webdataset | .tar files, or a folder of them, with a clip and a .txt or .json for each sample |

What such files say about sizes and numbers of frames is not followed: a training of eve has settings for that.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from eve_cli.data import folders, tables, triplets
from eve_cli.data.sample import Dropped, Item, Listing, Triplet, check_text, kind_of
from eve_cli.errors import InputError, UsageError
from eve_cli.storage import jsonl
from eve_cli.storage.atomic import atomic_folder
from eve_cli.storage.paths import cache, name_problem

Entries = Listing[Item] | Listing[Triplet]
PROMPTS, CLIPS = ("prompts.txt", "prompt.txt", "captions.txt"), ("videos.txt", "video.txt")
LARGEST_TEXT = 1 << 20  # bytes of a text in a shard


def scan(path: Path, *, caption_needed: bool = True, deep: bool = False) -> Entries:
    """The clips that a folder, a table, a TOML file or shards name, and what was left out; UsageError for other files.

    With `deep` every file is opened.
    """
    if path.is_dir():
        return _folder(path, caption_needed, deep)
    kind = path.suffix.lower()
    if kind not in (".toml", ".tar", *tables.TYPES):
        types = ", ".join(tables.TYPES)
        raise UsageError(f"{path} is neither a folder, a table ({types}), a .toml file, nor a .tar file.")
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    if kind == ".toml":
        return _toml(path, caption_needed, deep)
    if kind == ".tar":
        return _shards([path], caption_needed, deep)
    if kind == ".jsonl" and form(path) == "triplets":
        return triplets.scan(path, deep=deep)
    return _table(path, caption_needed, deep)


def form(file: Path) -> Literal["triplets", "inputs", "captions"]:
    """What the rows of a .jsonl file are, by the keys of the first: triplets where nothing else is recognised."""
    row = next((row for _, row in jsonl.read(file)), {})
    if "input" in row or "output" in row:
        return "triplets"
    if "instruction" in row:
        return "inputs"
    return "captions" if any(name in row for name in folders.COLUMNS["file"]) else "triplets"


def _folder(folder: Path, caption_needed: bool, deep: bool) -> Entries:
    lists = [next((folder / name for name in names if (folder / name).is_file()), None) for names in (PROMPTS, CLIPS)]
    if all(lists):
        return _lists(*lists, caption_needed, deep)  # type: ignore[arg-type]
    shards = sorted(folder.glob("*.tar"))
    if shards:
        return _shards(shards, caption_needed, deep)
    return folders.scan(folder, caption_needed=caption_needed, deep=deep)


def _lists(prompts: Path, clips: Path, caption_needed: bool, deep: bool) -> Listing[Item]:
    """finetrainers: the same number of lines in two files."""
    try:
        texts, names = (file.read_text(encoding="utf-8-sig").strip().split("\n") for file in (prompts, clips))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{prompts.parent}: {prompts.name} and {clips.name} cannot be read ({error}).") from None
    if len(texts) != len(names):
        raise InputError(f"{prompts} has {len(texts)} lines and {clips.name} {len(names)}: they must agree.")
    rows = [{"file": name.strip(), "caption": text.strip()} for name, text in zip(names, texts, strict=True)]
    return _listing(clips, rows, {"file": "file", "caption": "caption"}, caption_needed, deep)  # type: ignore[return-value]


def _table(file: Path, caption_needed: bool, deep: bool) -> Entries:
    rows = tables.read(file)
    if not rows:
        raise InputError(f"{file} has no rows.")
    if "instruction" in rows[0] and "video" in rows[0] and "input" not in rows[0]:
        raise UsageError(f"{file} has instructions and no answers: it is for eve align, not for training on captions.")
    columns = tables.match(file, list({name: None for row in rows for name in row}), folders.COLUMNS, needed=("file",))
    return _listing(file, rows, columns, caption_needed, deep)


def _listing(
    file: Path, rows: Sequence[Mapping[str, str]], columns: Mapping[str, str], caption_needed: bool, deep: bool
) -> Entries:
    """Captioned clips, or triplets where a column names control videos."""
    items: list[Any] = []
    dropped: list[Dropped] = []
    for number, row in enumerate(rows, 1):
        fields = {field: " ".join(row.get(column, "").split()) for field, column in columns.items()}
        fields |= {field: row.get(columns[field], "").strip() for field in ("file", "control") if field in columns}
        try:
            items.append(_entry(file.parent, number, fields, caption_needed, deep))
        except InputError as error:
            dropped.append(Dropped(f"{file.name}:{number}", str(error).rstrip(".")))
    return Listing(items, dropped)


def _entry(home: Path, number: int, fields: Mapping[str, str], caption_needed: bool, deep: bool) -> Item | Triplet:
    path = _existing(home, fields["file"], deep)
    caption = fields.get("caption", "")
    check_text(caption, "caption", needed=False)
    if "control" not in fields:
        if caption_needed and not caption:
            raise InputError("no caption.")
        return Item(path, caption, kind_of(path) or "picture")
    control = _existing(home, fields["control"], deep)
    if kind_of(control) != kind_of(path):
        raise InputError(f"input is a {kind_of(control)} and output is a {kind_of(path)}.")
    instruction = fields.get("instruction") or caption
    if not instruction:
        raise InputError("no instruction and no caption.")
    return Triplet(number, control, path, instruction, caption or instruction, fields.get("input_caption", ""))


def _existing(home: Path, name: str, deep: bool) -> Path:
    """A file by its name in a table: relative to the table, else to the working folder."""
    if not name:
        raise InputError("no file is named.")
    path = next((p for p in (home / name, Path(name)) if not name_problem(p) and p.is_file()), None)
    if path is None:
        raise InputError(f"{name!r} does not exist.")
    if kind_of(path) is None:
        raise InputError(f"{name!r} is no picture or video.")
    if deep and (fault := folders.unreadable(path)):
        raise InputError(f"{name!r} {fault}.")
    return path


def _toml(file: Path, caption_needed: bool, deep: bool) -> Entries:
    """The datasets of musubi-tuner or the directories of diffusion-pipe, one after the other."""
    try:
        config = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{file} cannot be read as TOML: {error}.") from None
    sets = [*_rows(config, "datasets"), *_rows(config, "directory")]
    if not sets:
        raise InputError(f"{file} has neither [[datasets]] (musubi-tuner) nor [[directory]] (diffusion-pipe).")
    general = config.get("general")
    general = general if isinstance(general, dict) else {}
    listings = [_dataset(file, {**general, **row}, caption_needed, deep) for row in sets]
    items: list[Any] = [item for listing in listings for item in listing.items]
    if len({type(item) for item in items}) > 1:
        raise InputError(f"{file} mixes datasets with and without control videos; give one file for each kind.")
    return Listing(items, [dropped for listing in listings for dropped in listing.dropped])


def _rows(config: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    rows = config.get(name, [])
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _dataset(file: Path, row: Mapping[str, Any], caption_needed: bool, deep: bool) -> Entries:
    keys = ("video_directory", "image_directory", "path", "video_jsonl_file", "image_jsonl_file")
    key = next((key for key in keys if isinstance(row.get(key), str)), None)
    if key is None:
        raise InputError(f"{file}: a dataset needs one of {', '.join(keys)}.")
    path = next((p for p in (file.parent / row[key], Path(row[key])) if p.exists()), None)
    if path is None:
        raise InputError(f"{file}: {key} {row[key]!r} does not exist.")
    if key.endswith("_file"):
        return _table(path, caption_needed, deep)
    ending = row.get("caption_extension", ".txt")
    ending = ending if isinstance(ending, str) and ending.startswith(".") else ".txt"
    listing = folders.scan(path, caption_needed=caption_needed, deep=deep, caption_type=ending)
    control = row.get("control_directory")
    return _controlled(listing, file, control, deep) if isinstance(control, str) else listing


def _controlled(listing: Listing[Item], file: Path, name: str, deep: bool) -> Listing[Triplet]:
    """Triplets of clips and the control videos of the same names."""
    folder = next((p for p in (file.parent / name, Path(name)) if p.is_dir()), None)
    if folder is None:
        raise InputError(f"{file}: control_directory {name!r} is no folder.")
    triplets: list[Triplet] = []
    dropped = list(listing.dropped)
    for number, item in enumerate(listing.items, 1):
        control = tables.clip_named(folder, item.path.name) or tables.clip_named(folder, item.path.stem)
        fault = "has no control video" if control is None else folders.unreadable(control) if deep else None
        if control is None or fault:
            dropped.append(Dropped(item.path.name, fault or ""))
        else:
            triplets.append(Triplet(number, control, item.path, item.caption, item.caption))
    return Listing(triplets, dropped)


def _shards(shards: Sequence[Path], caption_needed: bool, deep: bool) -> Entries:
    """The samples of webdataset shards, unpacked once into the user's cache."""
    items: list[Any] = []
    dropped: list[Dropped] = []
    for shard in shards:
        for name, parts in _samples(_unpacked(shard)):
            try:
                items.append(_sample(name, len(items) + 1, parts, caption_needed, deep))
            except InputError as error:
                dropped.append(Dropped(f"{shard.name}:{name}", str(error).rstrip(".")))
    if len({type(item) for item in items}) > 1:
        raise InputError(f"{shards[0]}: some samples have an input clip and others have none; separate them.")
    return Listing(items, dropped)


def _sample(name: str, number: int, parts: Mapping[str, Path], caption_needed: bool, deep: bool) -> Item | Triplet:
    fields = _texts(parts)
    clips = {kind.rpartition(".")[0]: path for kind, path in parts.items() if kind_of(path)}
    file = clips.get("output") or clips.get("") or next(iter(clips.values()), None)
    if file is None:
        raise InputError("has no clip.")
    fields["file"] = str(file)
    fields.pop("control", None)
    if "input" in clips:
        fields["control"] = str(clips["input"])
    return _entry(file.parent, number, fields, caption_needed, deep)


def _texts(parts: Mapping[str, Path]) -> dict[str, str]:
    fields: dict[str, str] = {}
    if "txt" in parts:
        fields["caption"] = " ".join(parts["txt"].read_text(encoding="utf-8", errors="replace").split())
    if "json" in parts:
        try:
            row = json.loads(parts["json"].read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            raise InputError("its .json is not JSON.") from None
        row = row if isinstance(row, dict) else {}
        for field in ("caption", "instruction", "input_caption"):
            value = next((row[name] for name in folders.COLUMNS[field] if isinstance(row.get(name), str)), None)
            if value:
                fields[field] = " ".join(value.split())
    return fields


def _samples(folder: Path) -> Iterator[tuple[str, dict[str, Path]]]:
    """The files of each sample by what follows the first dot of their names, in order."""
    for sample in sorted(path for path in folder.iterdir() if path.is_dir()):
        parts = {path.name.partition(".")[2].lower(): path for path in sorted(sample.iterdir())}
        yield sample.name, parts


def _unpacked(shard: Path) -> Path:
    """The folder with a shard's clips and texts: one folder a sample, whose names are numbers, never those inside."""
    status = shard.stat()
    content = f"{shard.resolve()} {status.st_size} {status.st_mtime_ns}"
    target = cache() / "shards" / hashlib.blake2b(content.encode(errors="surrogateescape"), digest_size=12).hexdigest()
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(target) as folder, tarfile.open(shard) as tar:
            numbers: dict[str, int] = {}
            for member in tar:
                key, _, kind = member.name.rpartition("/")[2].partition(".")
                stem, kind = f"{member.name.rpartition('/')[0]}/{key}", kind.lower()
                wanted = kind in ("txt", "json") and member.size <= LARGEST_TEXT
                wanted = wanted or kind_of(Path(f"x.{kind}")) is not None
                content = tar.extractfile(member) if wanted and (member.isreg() or member.islnk()) else None
                if content is None:
                    continue
                sample = folder / f"{numbers.setdefault(stem, len(numbers)):06d}"
                sample.mkdir(exist_ok=True)
                with (sample / f"clip.{kind[-40:]}").open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (OSError, tarfile.TarError, EOFError, KeyError) as error:
        raise InputError(f"{shard} cannot be read as a .tar file: {error}.") from None
    return target
