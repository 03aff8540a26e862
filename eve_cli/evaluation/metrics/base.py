"""The protocol of a metric: its columns, its inputs, and the clip that it scores."""

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
    """One figure of an edit: its name, its recipe, and how to read it.

    `recipe` names formula, network and preprocessing; figures of different recipes are never compared. `better` is 1
    where higher is better, -1 where lower is, 0 where neither. `anchors` are published values by data set and
    method, shown only beside the same recipe on the same complete data.
    """

    name: str
    recipe: str
    unit: str
    better: int
    range: str
    help: str
    anchors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


class Cache:
    """Features of frames, cached in a folder, or in memory without one."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.memory: dict[str, Tensor] = {}

    def get(self, key: str, recipe: str, make: Callable[[], Tensor]) -> Tensor:
        """The tensor of a key under a recipe, computed if absent; an unreadable file is computed again."""
        name = hashlib.sha256(f"{recipe}\n{key}".encode()).hexdigest()[:32]
        if self.folder is None:
            if name not in self.memory:
                self.memory[name] = make()
            return self.memory[name]
        return cached(self.folder / f"{name}.safetensors", lambda: {"features": make()})["features"]


@dataclass
class EditClip:
    """An edit as metrics receive it: frames (n, 3, height, width) uint8, all of the same number and size.

    `mask` (n, height, width) is 1 in the region of the requested edit, `reference` is the true edit. `world` has the
    renderer's data: `flow` (n - 1, 2, height, width) of the true edit in pixels from a frame to the next, and
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
        """Adds a note to the values, once."""
        if text not in self.notes:
            self.notes.append(text)

    def features(self, frames: Tensor, recipe: str, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """The features of frames by `encode`, from the cache if the same recipe has encoded the same frames before."""
        return self.cache.get(fingerprint(frames), recipe, lambda: encode(frames))


class Metric(Protocol):
    """A class in this package and a row of `METRICS`; constructed for a run, opened once, called for every edit.

    `needs` lists the inputs of `NEEDS` that a pair must have (`weights`: the metric has a network). A value that is
    undefined for an edit is NaN, with a note of the reason.
    """

    columns: tuple[Column, ...]
    needs: frozenset[str]

    def __init__(self, weights: Weights, device: str) -> None: ...

    def missing(self) -> str | None:
        """None if the metric can run, else the reason in one sentence; reads file headers only."""
        ...

    def open(self) -> None:
        """Loads the network; ModelError if that fails."""
        ...

    def score(self, clip: EditClip) -> dict[str, float]:
        """A value for each column, by name."""
        ...


class PixelMetric:
    """Base of the metrics without a network."""

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


def undefined(clip: EditClip, names: tuple[str, ...] | list[str], reason: str) -> dict[str, float]:
    """NaN for the named columns, and the reason as a note."""
    clip.note(f"{', '.join(names)}: {reason}")
    return dict.fromkeys(names, torch.nan)
