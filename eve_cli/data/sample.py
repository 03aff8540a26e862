"""What data is: an edit with its answer, a file with its caption, and what was left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from eve_cli.errors import InputError
from eve_cli.media import input_resolver
from eve_cli.storage.paths import name_problem

if TYPE_CHECKING:
    from torch import Tensor

CHANGED = 8 / 255  # a pixel that differs by more than this is one that an edit changes
Kind = Literal["picture", "video"]
Entry = TypeVar("Entry")

PICTURES, VIDEOS = frozenset(input_resolver.PICTURES), frozenset(input_resolver.VIDEOS)


@dataclass(frozen=True)
class EditSample:
    """A clip, an instruction, and the clip that should come out: tensors (frames, 3, height, width) in 0-1.

    `edited` is None where the answer is not known; `mask` (frames, height, width) is 1 where the edit acts.
    """

    source: Tensor
    edited: Tensor | None
    instruction: str
    source_caption: str = ""
    caption: str = ""
    task: str | None = None
    mask: Tensor | None = None


@dataclass(frozen=True)
class Item:
    """A picture or a video in a file, and what it shows."""

    path: Path
    caption: str
    kind: Kind


@dataclass(frozen=True)
class Triplet:
    """A row of a triplet file: input and output are pictures or videos."""

    row: int
    input: Path
    output: Path
    instruction: str
    output_caption: str
    input_caption: str = ""
    task: str | None = None


@dataclass(frozen=True)
class Dropped:
    """Something that is left out: a file, or a row as `file.jsonl:7`."""

    where: str
    reason: str


@dataclass(frozen=True)
class Listing(Generic[Entry]):
    """The usable items of a folder or table, and the dropped ones with their reasons."""

    items: Sequence[Entry]
    dropped: Sequence[Dropped]

    def reasons(self) -> dict[str, int]:
        """How many were dropped, by reason, most frequent first."""
        return dict(Counter(d.reason for d in self.dropped).most_common())


def kind_of(path: Path) -> Kind | None:
    """What a file is by its name, or None."""
    suffix = path.suffix.lower()
    return "picture" if suffix in PICTURES else "video" if suffix in VIDEOS else None


def changed_region(before: Tensor, after: Tensor) -> Tensor:
    """Where an edit changes pictures (..., 3, height, width): 1 or 0, (..., height, width)."""
    return ((after - before).abs().amax(-3) > CHANGED).float()


def check_text(value: object, name: str, needed: bool) -> None:
    """InputError if a field of a row is no text, or is needed and empty."""
    if value is None and not needed:
        return
    if not isinstance(value, str) or (needed and not value.strip()):
        raise InputError(f"{name} is missing or no text.")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise InputError(f"{name} has characters that are no text (half of a pair of UTF-16).")


def clip_path(home: Path, name: str, field: str) -> Path:
    """The file that a field of a row names, relative to its table; InputError if it does not exist."""
    path = home / name
    if name_problem(path) or not path.is_file():
        raise InputError(f"{field} {name!r} does not exist.")
    return path
