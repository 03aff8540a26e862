"""Loads edits for the metrics: source, edit, reference and mask with the same number and size of frames."""

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
from eve_cli.evaluation.metrics.base import Cache, EditClip
from eve_cli.evaluation.pairs import Footage, Pair
from eve_cli.media.threads import read_ahead

Align = Literal["first", "spread"]
PREFETCH = 2  # edits decoded while metrics run


@dataclass(frozen=True)
class FrameSelection:
    """Which frames of clips of different length are compared: the first ones, or frames spread over each clip."""

    align: Align = "first"
    max_frames: int | None = None

    def indices(self, frames: int, count: int) -> list[int]:
        """The indices of `count` frames of a clip."""
        if self.align == "first" or frames == count:
            return list(range(count))
        return [round(i * (frames - 1) / max(count - 1, 1)) for i in range(count)]


@dataclass(frozen=True)
class LoadedEdit:
    """An edit ready to be scored, or the reason why it cannot be."""

    method: str
    pair: Pair
    clip: EditClip | None
    error: str = ""


@dataclass
class ClipLoader:
    """Reads edits in a background thread; the source of several consecutive edits is decoded once."""

    selection: FrameSelection = field(default_factory=FrameSelection)
    cache: Cache = field(default_factory=Cache)
    last: tuple[Path, Footage] | None = None

    def load_all(self, pairs: Iterable[tuple[str, Pair]]) -> Iterator[LoadedEdit]:
        """The edits of (method, pair), in order, decoded ahead of use."""
        return read_ahead((self.load(method, pair) for method, pair in pairs), PREFETCH)

    def load(self, method: str, pair: Pair) -> LoadedEdit:
        """One edit; an unreadable one has the reason in `error`."""
        if pair.edited is None:
            return LoadedEdit(method, pair, None, pair.notes or "no edit was found")
        try:
            return LoadedEdit(method, pair, self._clip(pair, pair.edited))
        except EveError as error:
            return LoadedEdit(method, pair, None, str(error))

    def _clip(self, pair: Pair, path: Path) -> EditClip:
        source = self._source(pair) if pair.source.exists() else None
        edited = source if source is not None and path == pair.source else Footage.read(path, self._max_frames)
        reference = Footage.read(pair.reference, self._max_frames) if pair.reference else None
        mask = Footage.read(pair.mask, self._max_frames) if pair.mask else None
        lengths = [len(each.frames) for each in (source, edited, reference) if each is not None]
        length = min(lengths)
        if self.selection.max_frames is not None:
            length = min(length, self.selection.max_frames)
        size = (source or edited).frames.shape[-2:]
        clip = EditClip(
            pair,
            edited=self._fit(edited, length, size),
            source=None if source is None else self._fit(source, length, size),
            reference=None if reference is None else self._fit(reference, length, size),
            mask=None if mask is None else as_mask(mask.frames, length, size),
            fps=edited.fps if source is None else source.fps,
            cache=self.cache,
        )
        if source is None:
            clip.note(f"the source {pair.source.name} does not exist")
        if len(set(lengths)) > 1:
            clip.note(
                f"lengths differ ({', '.join(map(str, lengths))} frames): {length} are compared, {self.selection.align}"
            )
        if edited.frames.shape[-2:] != size:
            height, width = edited.frames.shape[-2:]
            clip.note(f"the edit was resized from {width}x{height}")
        aligned = self.selection.align == "first" or len(set(lengths)) == 1  # the flow is from each frame to the next
        return with_truth(clip, pair.truth, length) if pair.truth and aligned else clip

    @property
    def _max_frames(self) -> int | None:
        return self.selection.max_frames if self.selection.align == "first" else None

    def _source(self, pair: Pair) -> Footage:
        if self.last is None or self.last[0] != pair.source:
            self.last = (pair.source, Footage.read(pair.source, self._max_frames))
        return self.last[1]

    def _fit(self, footage: Footage, length: int, size: torch.Size) -> Tensor:
        frames = footage.frames
        if len(frames) != length:
            frames = frames[self.selection.indices(len(frames), length)]
        return frames if frames.shape[-2:] == size else resized(frames, size)


def resized(frames: Tensor, size: tuple[int, ...]) -> Tensor:
    """uint8 frames at another (height, width), bicubic with antialiasing."""
    floats = F.interpolate(frames.float(), size=size, mode="bicubic", antialias=True, align_corners=False)
    return floats.round().clamp(0, 255).to(torch.uint8)


def as_mask(frames: Tensor, length: int, size: tuple[int, ...]) -> Tensor:
    """A mask (length, height, width), 1 where frames (n, 3, h, w) are white; a single picture applies to all frames."""
    white = F.interpolate(frames.float().mean(1, keepdim=True), size=size, mode="nearest").squeeze(1) > 127
    if len(white) == 1:
        white = white.expand(length, -1, -1)
    if len(white) < length:
        raise InputError(
            f"the mask has {len(white)} frames and the clip {length}; a single picture applies to all frames."
        )
    return white[:length].float()


def with_truth(clip: EditClip, path: Path, length: int) -> EditClip:
    """The clip with the mask, the flow and the visibility from the truth file of a world edit."""
    try:
        tensors = load_file(path)
        clip.mask = tensors["changed"][:length].float()
        if "edited.flow" in tensors:
            clip.world = {
                "flow": tensors["edited.flow"][: length - 1].float(),
                "visible": tensors["edited.visible"][: length - 1].float(),
            }
    except (OSError, KeyError, SafetensorError) as error:
        raise InputError(f"{path}: the truth of this edit cannot be read ({error}).") from None
    return clip
