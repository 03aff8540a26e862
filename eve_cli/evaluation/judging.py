"""Clips on their way to the metrics: source, edit and what else is known, with one number and size of frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from eve_cli.errors import EveError, InputError
from eve_cli.evaluation.metrics.base import Cache, Judged
from eve_cli.evaluation.pairs import Footage, Pair
from eve_cli.media.threads import read_ahead

Align = Literal["first", "spread"]
AHEAD = 2  # edits that are decoded while the networks work


@dataclass(frozen=True)
class Rule:
    """How clips of different length meet: by their first frames, or by frames spread over each one's whole length."""

    align: Align = "first"
    max_frames: int | None = None

    def numbers(self, frames: int, wanted: int) -> list[int]:
        """Which of a clip's frames are judged, if all must come down to `wanted`."""
        if self.align == "first" or frames == wanted:
            return list(range(wanted))
        return [round(i * (frames - 1) / max(wanted - 1, 1)) for i in range(wanted)]


@dataclass(frozen=True)
class Loaded:
    """An edit ready to be judged, or the reason why it cannot be."""

    method: str
    pair: Pair
    clip: Judged | None
    error: str = ""


@dataclass
class Loader:
    """Reads pairs in a thread of its own; a source that several methods edit is decoded once."""

    rule: Rule = field(default_factory=Rule)
    cache: Cache = field(default_factory=Cache)
    last: tuple[Path, Footage] | None = None

    def load_all(self, wanted: Iterable[tuple[str, Pair]]) -> Iterator[Loaded]:
        """The edits of (method, pair), in order, decoded ahead of whoever takes them."""
        return read_ahead((self.load(method, pair) for method, pair in wanted), AHEAD)

    def load(self, method: str, pair: Pair) -> Loaded:
        """One edit; what is wrong with it becomes its `error`."""
        if pair.edited is None:
            return Loaded(method, pair, None, pair.notes or "no edit was found")
        try:
            return Loaded(method, pair, self._judged(pair, pair.edited))
        except EveError as error:
            return Loaded(method, pair, None, str(error))

    def _judged(self, pair: Pair, path: Path) -> Judged:
        source = self._source(pair) if pair.source.exists() else None
        edited = source if source is not None and path == pair.source else Footage.read(path, self._most)
        reference = Footage.read(pair.reference, self._most) if pair.reference else None
        mask = Footage.read(pair.mask, self._most) if pair.mask else None
        lengths = [len(each.frames) for each in (source, edited, reference) if each is not None]
        length = min(lengths)
        if self.rule.max_frames is not None:
            length = min(length, self.rule.max_frames)
        size = (source or edited).frames.shape[-2:]
        clip = Judged(
            pair,
            edited=self._fitted(edited, length, size),
            source=None if source is None else self._fitted(source, length, size),
            reference=None if reference is None else self._fitted(reference, length, size),
            mask=None if mask is None else as_mask(mask.frames, length, size),
            fps=edited.fps if source is None else source.fps,
            cache=self.cache,
        )
        if source is None:
            clip.note(f"the source {pair.source.name} is not there")
        if len(set(lengths)) > 1:
            clip.note(f"lengths differ ({', '.join(map(str, lengths))} frames): {length} are judged, {self.rule.align}")
        if edited.frames.shape[-2:] != size:
            height, width = edited.frames.shape[-2:]
            clip.note(f"the edit was resized from {width}x{height}")
        whole = self.rule.align == "first" or len(set(lengths)) == 1  # the flow is from each frame to its next
        return with_truth(clip, pair.truth, length) if pair.truth and whole else clip

    @property
    def _most(self) -> int | None:
        return self.rule.max_frames if self.rule.align == "first" else None

    def _source(self, pair: Pair) -> Footage:
        if self.last is None or self.last[0] != pair.source:
            self.last = (pair.source, Footage.read(pair.source, self._most))
        return self.last[1]

    def _fitted(self, footage: Footage, length: int, size: torch.Size) -> Tensor:
        frames = footage.frames
        if len(frames) != length:
            frames = frames[self.rule.numbers(len(frames), length)]
        return frames if frames.shape[-2:] == size else resized(frames, size)


def resized(frames: Tensor, size: tuple[int, ...]) -> Tensor:
    """uint8 frames at another (height, width), bicubic without aliasing."""
    floats = F.interpolate(frames.float(), size=size, mode="bicubic", antialias=True, align_corners=False)
    return floats.round().clamp(0, 255).to(torch.uint8)


def as_mask(frames: Tensor, length: int, size: tuple[int, ...]) -> Tensor:
    """White of frames (n, 3, h, w) as a mask (length, height, width) of 0 and 1; one picture holds for all frames."""
    white = F.interpolate(frames.float().mean(1, keepdim=True), size=size, mode="nearest").squeeze(1) > 127
    if len(white) == 1:
        white = white.expand(length, -1, -1)
    if len(white) < length:
        raise InputError(f"the mask has {len(white)} frames and the clip {length}; a lone picture holds for all.")
    return white[:length].float()


def with_truth(clip: Judged, path: Path, length: int) -> Judged:
    """The clip with the mask, the flow and the visibility that the world keeps of an edit."""
    try:
        kept = load_file(path)
        clip.mask = kept["changed"][:length].float()
        if "edited.flow" in kept:
            clip.world = {
                "flow": kept["edited.flow"][: length - 1].float(),
                "visible": kept["edited.visible"][: length - 1].float(),
            }
    except (OSError, KeyError, SafetensorError) as error:
        raise InputError(f"{path}: the truth of this edit cannot be read ({error}).") from None
    return clip
