"""What data is: an edit with its answer, a file with its caption, and what was left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from eve_cli.media import input_resolver

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
