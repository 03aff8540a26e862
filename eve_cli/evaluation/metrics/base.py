"""What a metric is: its columns, what it needs, and the clip that it is given."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from eve_cli.storage.cache import cached

if TYPE_CHECKING:
    from eve_cli.evaluation.pairs import Pair
    from eve_cli.evaluation.weights import Weights

NAN = float("nan")
NEEDS = ("source", "captions", "mask", "truth", "weights")


@dataclass(frozen=True)
class Column:
    """One figure of an edit: its name, the recipe that makes it comparable, and how to read it.

    `recipe` names formula, network and preprocessing; figures of two recipes are never compared. `better` is 1 where
    higher is better, -1 where lower is, 0 where neither. `anchors` are published values, data set -> method -> value:
    to be shown only beside the same recipe on the same data with nothing missing.
    """

    name: str
    recipe: str
    unit: str
    better: int
    range: str
    help: str
    anchors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


class Cache:
    """What networks saw in frames, kept in a folder, or in memory without one."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.held: dict[str, Tensor] = {}

    def get(self, key: str, recipe: str, make: Callable[[], Tensor]) -> Tensor:
        """The tensor of a key under a recipe, made if it is not there; a file that cannot be read is made again."""
        name = hashlib.sha256(f"{recipe}\n{key}".encode()).hexdigest()[:32]
        if self.folder is None:
            if name not in self.held:
                self.held[name] = make()
            return self.held[name]
        return cached(self.folder / f"{name}.safetensors", lambda: {"features": make()})["features"]


@dataclass
class Judged:
    """An edit as the metrics see it: frames (n, 3, height, width) uint8, all of the same number and size.

    `mask` (n, height, width) is 1 where the edit was asked to act, `reference` is the true edit. `world` holds what
    only the world knows: `flow` (n - 1, 2, height, width) of the true edit in pixels from a frame to the next, and
    `visible` (n - 1, height, width).
    """

    pair: Pair
    edited: Tensor
    source: Tensor | None = None
    mask: Tensor | None = None
    reference: Tensor | None = None
    fps: float | None = None
    world: Mapping[str, Tensor] | None = None
    cache: Cache = field(default_factory=Cache)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keeps a sentence that belongs beside the values, once."""
        if text not in self.notes:
            self.notes.append(text)

    def seen(self, frames: Tensor, recipe: str, look: Callable[[Tensor], Tensor]) -> Tensor:
        """What `look` makes of frames, from the cache if the same recipe has seen the same frames before."""
        return self.cache.get(fingerprint(frames), recipe, lambda: look(frames))


class Metric(Protocol):
    """A file here and a row of `METRICS`; made for a run, opened once, asked for every edit.

    `needs` are those of `NEEDS` that a pair must have (`weights`: the metric has a network). A value that is not
    defined for an edit is NaN, with a note of the reason.
    """

    columns: tuple[Column, ...]
    needs: frozenset[str]

    def __init__(self, weights: Weights, device: str) -> None: ...

    def missing(self) -> str | None:
        """None where the metric can run, else the one sentence that follows `not run:`; reads no more than headers."""
        ...

    def open(self) -> None:
        """Loads what is needed; ModelError where that fails."""
        ...

    def score(self, clip: Judged) -> dict[str, float]:
        """A value for each column, by name."""
        ...


class Plain:
    """What metrics without a network share: nothing is missing, nothing is opened."""

    needs: frozenset[str] = frozenset({"source"})

    def __init__(self, weights: Weights | None = None, device: str = "cpu") -> None:
        self.device = device

    def missing(self) -> str | None:
        return None

    def open(self) -> None:
        return None


def fingerprint(frames: Tensor) -> str:
    """A hash of the values and the shape of frames."""
    values = frames.detach().cpu().contiguous()
    return hashlib.sha256(str((values.dtype, tuple(values.shape))).encode() + values.numpy().tobytes()).hexdigest()


def unit(frames: Tensor) -> Tensor:
    """uint8 frames as floats in [0, 1]."""
    return frames.float() / 255


def value(found: Tensor) -> float:
    """A tensor of one element as a number, to the precision that files keep."""
    return float(found.detach().double().reshape(()))


def undefined(clip: Judged, names: tuple[str, ...] | list[str], reason: str) -> dict[str, float]:
    """NaN for the named columns, and the reason as a note."""
    clip.note(f"{', '.join(names)}: {reason}")
    return dict.fromkeys(names, torch.nan)
