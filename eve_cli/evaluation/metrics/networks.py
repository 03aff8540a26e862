"""Networks that several metrics share: each is loaded once, and what it saw in a clip is kept."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor

from eve_cli.errors import ModelError
from eve_cli.evaluation.metrics.base import Judged
from eve_cli.perception import viclip
from eve_cli.perception.clip import Clip
from eve_cli.perception.viclip_encoders import ViclipEyes, sizes_of

if TYPE_CHECKING:
    from eve_cli.evaluation.weights import Weights

SIZES = {"viclip-l14": viclip.L14, "viclip-b16": viclip.B16}


@cache
def _clip(folder: Path, words: Path, device: str) -> Clip:
    return Clip.load(folder, device, words)


@cache
def _viclip(path: Path, name: str, preparation: str, device: str) -> ViclipEyes:
    sizes = SIZES.get(name) or sizes_of(path.parent)
    if sizes is None:
        raise ModelError(f"{path.parent} has no config.json with the sizes of its ViCLIP.")
    return ViclipEyes.load(path, sizes, preparation, device)


class WithEyes:
    """What metrics on a network that sees and reads share."""

    checkpoint: str
    caption = "the caption"
    eyes: Any

    def __init__(self, weights: Weights, device: str = "cpu") -> None:
        self.weights, self.device = weights, device
        self.texts: dict[str, Tensor] = {}

    def missing(self) -> str | None:
        return self.weights.trouble(self.checkpoint)

    def read(self, clip: Judged, text: str) -> Tensor:
        """Unit features (1, dim) of a text; a note where its end is lost."""
        if self.eyes.cut(text):
            clip.note(f"{self.checkpoint} reads {self.eyes.context} tokens: the end of {self.caption} is not read")
        if text not in self.texts:
            self.texts[text] = self.eyes.read([text])
        return self.texts[text]


class WithClip(WithEyes):
    """What metrics on a CLIP share.

    `square` first resizes frames to that side, as the TGVE script does; `longest` first shrinks them to that longer
    side.
    """

    checkpoint = "clip-l14"
    square: int | None = 480
    longest: int | None = None
    projected = True
    needs: frozenset[str] = frozenset({"weights"})

    def open(self) -> None:
        self.eyes = _clip(self.weights.find(self.checkpoint), self.weights.words(self.checkpoint), self.device)
        self.stamp = f"{self.weights.stamp(self.checkpoint)} {self.square} {self.longest} {self.projected}"

    def look(self, clip: Judged, frames: Tensor) -> Tensor:
        """Unit features (n, dim) of frames."""
        return clip.seen(frames, self.stamp, self._look)

    def _look(self, frames: Tensor) -> Tensor:
        return self.eyes.look(shrunk(frames, self.longest), self.square, self.projected)


class WithViclip(WithEyes):
    """What metrics on a ViCLIP share."""

    checkpoint = "viclip-l14"
    caption = "a caption"
    preparation = "internvid"
    needs: frozenset[str] = frozenset({"weights", "source", "captions"})

    def open(self) -> None:
        self.eyes = _viclip(self.weights.file(self.checkpoint), self.checkpoint, self.preparation, self.device)
        self.stamp = f"{self.weights.stamp(self.checkpoint)} {self.preparation}"

    def look(self, clip: Judged, frames: Tensor) -> Tensor:
        """The unit feature (1, dim) of a clip."""
        return clip.seen(frames, self.stamp, self.eyes.look)


def shrunk(frames: Tensor, longest: int | None) -> Tensor:
    """uint8 frames whose longer side is at most `longest` pixels."""
    long = max(frames.shape[-2:])
    if longest is None or long <= longest:
        return frames
    size = [round(side * longest / long) for side in frames.shape[-2:]]
    small = F.interpolate(frames.float(), size, mode="bicubic", antialias=True, align_corners=False)
    return small.round().clamp(0, 255).to(frames.dtype)
