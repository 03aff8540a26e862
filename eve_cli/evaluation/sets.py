"""Sets of edits to evaluate, from TGVE, TGVE+, a manifest or folders: the same edits of each method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from eve_cli.data import tables, tgve
from eve_cli.errors import InputError, UsageError
from eve_cli.evaluation.pairs import Pair, unique
from eve_cli.storage.paths import expanded

COPIED = "input copied"  # the baseline row of every table
Find = Callable[[Path, Pair], Path | None]

# The columns of a manifest, with their names in the manifests of other tools.
COLUMNS = {
    "id": ("id",),
    "video": ("video", "video_name", "video_id", "cluster"),
    "task": ("task", "edit_type", "type"),
    "method": ("method", "system"),
    "source": ("source", "input", "file", "source_path", "video_path", "original_video_path", "input_video"),
    "edited": ("edited", "output", "edited_path", "edited_video_path", "output_video"),
    "instruction": ("instruction", "edit_instruction", "edit"),
    "input_caption": ("input_caption", "source_caption", "source_prompt", "input_prompt"),
    "output_caption": ("output_caption", "target_caption", "target_prompt", "caption"),
    "mask": ("mask", "semantic_mask_path"),
    "reference": ("reference", "true_edit"),
    "truth": ("truth",),
}
FILES = ("source", "edited", "mask", "reference", "truth")


@dataclass(frozen=True)
class EvalSet:
    """The edits of each method, in the same order. `whole`: this is the complete benchmark `name`."""

    name: str
    methods: Mapping[str, Sequence[Pair]]
    whole: bool = False
    notes: Sequence[str] = ()
    files: Sequence[Path] = field(default=())  # the tables that it was read from

    @property
    def pairs(self) -> Sequence[Pair]:
        """The edits of the first method."""
        return next(iter(self.methods.values()))

    def first(self, count: int | None) -> EvalSet:
        """The first `count` edits, no longer a whole benchmark; all of them for None."""
        if count is None or count >= len(self.pairs):
            return self
        return replace(self, methods={name: pairs[:count] for name, pairs in self.methods.items()}, whole=False)

    def with_copy(self) -> EvalSet:
        """The set with the unedited input as another method; unchanged where no source exists."""
        if COPIED in self.methods or not any(pair.source.exists() for pair in self.pairs):
            return self
        copied = [replace(pair, edited=pair.source, notes="") for pair in self.pairs]
        return replace(self, methods={**self.methods, COPIED: copied})


def named_folders(edits: str) -> dict[str, Path]:
    """`DIR` or `NAME=DIR,NAME=DIR,...` as folders by the name of the method; UsageError if one does not exist."""
    folders = {}
    for item in filter(None, (part.strip() for part in edits.split(","))):
        name, equals, folder = item.partition("=")
        path = expanded(folder if equals else item)
        if not path.is_dir():
            raise UsageError(f"--edits {item}: {path} is not a folder.")
        folders[name if equals else path.resolve().name] = path
    return folders


def from_tgve(data: Path, edits: Mapping[str, Path], instructions: Path | None = None) -> EvalSet:
    """TGVE's edits: the csv and the videos below `data`, submissions in `edits`. Without `edits`, nothing is edited."""
    file = tgve.table_in(data)
    listing = tgve.read(file)
    texts = tgve.instructions(instructions) if instructions else {}
    videos = {video.name: video for video in listing.videos}
    pairs = [
        Pair(
            id=f"{video.name}.{task}",
            video=video.name,
            task=task,
            source=tgve.footage(data, video.name, video.set) or _absent(data, video.name),
            edited=None,
            instruction=texts.get((video.name, task), ""),
            input_caption=video.caption,
            output_caption=prompt,
        )
        for video in listing.videos
        for task, prompt in video.prompts.items()
        if prompt
    ]
    methods = _methods(pairs, edits, lambda folder, pair: tgve.submitted(folder, videos[pair.video], pair.task))
    files = [file, *([instructions] if instructions else [])]
    return EvalSet("TGVE", methods, listing.whole, listing.notes, files)


def from_plus(table: Path, data: Path, edits: Mapping[str, Path], column_map: str = "") -> EvalSet:
    """TGVE+: its table, TGVE's videos below `data`, and edits named by the row's id (its number, if it has none)."""
    rows = tables.read(table)
    columns = _matched(table, rows, tgve.PLUS, column_map, ("video", "instruction", "output_caption"))
    pairs = []
    for number, row in enumerate(rows):
        cell = {name: row.get(column, "") for name, column in columns.items()}
        video = Path(cell["video"]).stem
        pairs.append(
            Pair(
                id=cell.get("id") or f"{number:04d}",
                video=video,
                task=cell.get("task", ""),
                source=tgve.footage(data, cell["video"]) or _absent(data, video),
                edited=None,
                instruction=cell["instruction"],
                input_caption=cell.get("input_caption", ""),
                output_caption=cell["output_caption"],
            )
        )
    methods = in_folders(unique(pairs), edits)
    return EvalSet("TGVE+", methods, len(pairs) == 1417, [_column_note(table, columns)], [table])


def from_manifest(file: Path, edits: Mapping[str, Path] | None = None, column_map: str = "") -> EvalSet:
    """A table with a row an edit; paths are relative to it. A column `method` names several methods' edits.

    With `edits`, the edits come from its folders, by the ids of the rows, instead of the table.
    """
    rows = tables.read(file)
    columns = _matched(file, rows, COLUMNS, column_map)
    if "source" not in columns and "video" in columns:
        columns = {"source": columns["video"]} | {k: v for k, v in columns.items() if k != "video"}
    if "source" not in columns:
        tables.match(file, list(rows[0]), COLUMNS, column_map, ("source",))
    listed: dict[str, list[Pair]] = {}
    for number, row in enumerate(rows, 1):
        cell = {name: row.get(column, "") for name, column in columns.items()}
        if not cell["source"]:
            raise InputError(f"{file}, row {number}: the source is empty.")
        listed.setdefault(cell.get("method") or "edits", []).append(_pair(file, cell))
    methods: Mapping[str, Sequence[Pair]] = {name: unique(_numbered(pairs)) for name, pairs in listed.items()}
    if edits:
        methods = in_folders(next(iter(methods.values())), edits)
    _check_same(file, methods)
    return EvalSet(file.name, methods, notes=[_column_note(file, columns)], files=[file])


def in_folders(pairs: Sequence[Pair], edits: Mapping[str, Path]) -> Mapping[str, Sequence[Pair]]:
    """The edits in each folder, named by the ids of the pairs; InputError if a folder contains none of them."""
    return _methods(pairs, edits, lambda folder, pair: tables.clip_named(folder, pair.id))


def _pair(file: Path, cell: Mapping[str, str]) -> Pair:
    paths = {name: file.parent / expanded(cell[name]) for name in FILES if cell.get(name)}
    return Pair(
        id=cell.get("id", ""),
        video=cell.get("video") or paths["source"].stem,
        task=cell.get("task", ""),
        source=paths["source"],
        edited=paths.get("edited"),
        instruction=cell.get("instruction", ""),
        input_caption=cell.get("input_caption", ""),
        output_caption=cell.get("output_caption", ""),
        mask=paths.get("mask"),
        reference=paths.get("reference"),
        truth=paths.get("truth"),
    )


def _numbered(pairs: Sequence[Pair]) -> list[Pair]:
    """Ids for pairs without one: video.task, with a number where needed for uniqueness."""
    counts: Counter[str] = Counter()
    numbered = []
    for pair in pairs:
        name = pair.id or ".".join(filter(None, (pair.video, pair.task)))
        counts[name] += not pair.id
        numbered.append(replace(pair, id=name if counts[name] < 2 else f"{name}.{counts[name]}"))
    return numbered


def _methods(pairs: Sequence[Pair], edits: Mapping[str, Path], find: Find) -> dict[str, Sequence[Pair]]:
    if not edits:
        return {"edits": pairs}
    methods: dict[str, Sequence[Pair]] = {}
    for name, folder in edits.items():
        methods[name] = [replace(pair, edited=find(folder, pair)) for pair in pairs]
        if not any(pair.edited for pair in methods[name]):
            raise InputError(
                f"{folder}: no edit was found (the first expected one is {pairs[0].id}). "
                "See docs/reference/manifests.md for the supported file names."
            )
    return methods


def _check_same(file: Path, methods: Mapping[str, Sequence[Pair]]) -> None:
    ids = [[pair.id for pair in pairs] for pairs in methods.values()]
    if any(each != ids[0] for each in ids):
        raise InputError(f"{file}: all methods must have the same ids, in the same order.")


def _matched(
    file: Path, rows: Sequence[Mapping[str, str]], aliases: Mapping, column_map: str, needed: Sequence[str] = ()
) -> dict[str, str]:
    if not rows:
        raise InputError(f"{file} has no rows.")
    return tables.match(file, list(rows[0]), aliases, column_map, needed)


def _column_note(file: Path, columns: Mapping[str, str]) -> str:
    return f"{file.name}: " + ", ".join(
        name if name == column else f"{name} <- {column}" for name, column in columns.items()
    )


def _absent(data: Path, name: str) -> Path:
    return (data.parent if data.is_file() else data) / name
