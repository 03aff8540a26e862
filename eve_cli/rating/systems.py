"""The edits to be rated: those that the systems named on the command line have in common."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eve_cli.errors import InputError, UsageError
from eve_cli.evaluation import sets
from eve_cli.evaluation.pairs import Pair


@dataclass(frozen=True)
class Item:
    """One instruction on one source, with the edit of each system by name; systems without an edit are left out."""

    id: str
    video: str
    task: str
    source: Path
    caption: str
    instruction: str
    edits: Mapping[str, Path]


def load_systems(named_paths: Sequence[tuple[str, Path]], data: Path | None) -> dict[str, Sequence[Pair]]:
    """The edits of each system; UsageError if two have the same name, or a folder is given without --data."""
    loaded: dict[str, Sequence[Pair]] = {}
    for name, path in named_paths:
        for system, pairs in _read(name, path, data).items():
            if system in loaded:
                raise UsageError(f"Two systems are called {system!r}; name them as NAME=PATH.")
            loaded[system] = pairs
    return loaded


def _read(name: str, path: Path, data: Path | None) -> Mapping[str, Sequence[Pair]]:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder.")
    if not path.is_dir():
        methods = sets.from_manifest(path).methods
        if len(methods) > 1 and name:
            raise UsageError(f"{path} holds the systems {', '.join(methods)}; give it without a name.")
        return methods if len(methods) > 1 else {name or path.stem: next(iter(methods.values()))}
    if data is None:
        raise UsageError(f"{path} is a folder; --data must say what its clips are edits of.")
    edits = {name or path.resolve().name: path}
    return (sets.from_tgve if data.is_dir() else sets.from_manifest)(data, edits).methods


def common_items(systems: Mapping[str, Sequence[Pair]], min_systems: int) -> tuple[list[Item], int]:
    """The items that at least `min_systems` systems have, matched by id, and the number of items left out.

    Texts and the source are those of the first system that has the id.
    """
    ids = dict.fromkeys(pair.id for pairs in systems.values() for pair in pairs)
    by_id = {name: {pair.id: pair for pair in pairs} for name, pairs in systems.items()}
    items = []
    for id in ids:
        first = next(pairs[id] for pairs in by_id.values() if id in pairs)
        edits = {
            name: pair.edited
            for name, pairs in by_id.items()
            if (pair := pairs.get(id)) and pair.edited is not None and pair.edited.exists()
        }
        if len(edits) >= min_systems and first.source.exists():
            texts = first.output_caption, first.instruction
            items.append(Item(id, first.video, first.task, first.source, *texts, edits))
    return items, len(ids) - len(items)


def sample_items(items: Sequence[Item], limit: int, seed: int) -> list[Item]:
    """A random sample of `limit` items; all of them for 0."""
    return list(items) if not limit or limit >= len(items) else random.Random(f"{seed} items").sample(items, limit)
