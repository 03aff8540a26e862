"""Networks shared by several metrics: each is loaded once, and its features of a clip are cached."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor

from eve_cli.errors import ModelError
from eve_cli.evaluation.metrics.base import EditClip
from eve_cli.perception import viclip
from eve_cli.perception.clip import Clip
from eve_cli.perception.viclip_encoders import ViclipEncoder, sizes_of

if TYPE_CHECKING:
    from eve_cli.evaluation.weights import Weights

SIZES = {"viclip-l14": viclip.L14, "viclip-b16": viclip.B16}


@cache
def _clip(folder: Path, tokenizer: Path, device: str) -> Clip:
    return Clip.load(folder, device, tokenizer)


@cache
def _viclip(path: Path, name: str, preparation: str, device: str) -> ViclipEncoder:
    sizes = SIZES.get(name) or sizes_of(path.parent)
    if sizes is None:
        raise ModelError(f"{path.parent} has no config.json with the sizes of its ViCLIP.")
    return ViclipEncoder.load(path, sizes, preparation, device)


class WithEncoder:
    """Base of the metrics on an encoder of frames and texts."""

    checkpoint: str
    caption = "the caption"
    encoder: Any

    def __init__(self, weights: Weights, device: str = "cpu") -> None:
        self.weights, self.device = weights, device
        self.texts: dict[str, Tensor] = {}

    def missing(self) -> str | None:
        return self.weights.trouble(self.checkpoint)

    def encode_text(self, clip: EditClip, text: str) -> Tensor:
        """Unit features (1, dim) of a text, with a note if it is truncated."""
        if self.encoder.is_truncated(text):
            clip.note(f"{self.checkpoint} reads {self.encoder.context} tokens: {self.caption} is truncated")
        if text not in self.texts:
            self.texts[text] = self.encoder.encode_texts([text])
        return self.texts[text]


class WithClip(WithEncoder):
    """Base of the metrics on a CLIP.

    `square` first resizes frames to that side, as the TGVE script does; `longest` first shrinks them to that longer
    side.
    """

    checkpoint = "clip-l14"
    square: int | None = 480
    longest: int | None = None
    projected = True
    needs: frozenset[str] = frozenset({"weights"})

    def open(self) -> None:
        self.encoder = _clip(
            self.weights.find(self.checkpoint), self.weights.tokenizer_folder(self.checkpoint), self.device
        )
        self.stamp = f"{self.weights.stamp(self.checkpoint)} {self.square} {self.longest} {self.projected}"

    def encode_frames(self, clip: EditClip, frames: Tensor) -> Tensor:
        """Unit features (n, dim) of frames."""
        return clip.features(frames, self.stamp, self._encode)

    def _encode(self, frames: Tensor) -> Tensor:
        return self.encoder.encode_frames(shrunk(frames, self.longest), self.square, self.projected)


class WithViclip(WithEncoder):
    """Base of the metrics on a ViCLIP."""

    checkpoint = "viclip-l14"
    caption = "a caption"
    preparation = "internvid"
    needs: frozenset[str] = frozenset({"weights", "source", "captions"})

    def open(self) -> None:
        self.encoder = _viclip(self.weights.file(self.checkpoint), self.checkpoint, self.preparation, self.device)
        self.stamp = f"{self.weights.stamp(self.checkpoint)} {self.preparation}"

    def encode_frames(self, clip: EditClip, frames: Tensor) -> Tensor:
        """The unit feature (1, dim) of a clip."""
        return clip.features(frames, self.stamp, self.encoder.encode_frames)


def shrunk(frames: Tensor, longest: int | None) -> Tensor:
    """uint8 frames whose longer side is at most `longest` pixels."""
    long = max(frames.shape[-2:])
    if longest is None or long <= longest:
        return frames
    size = [round(side * longest / long) for side in frames.shape[-2:]]
    small = F.interpolate(frames.float(), size, mode="bicubic", antialias=True, align_corners=False)
    return small.round().clamp(0, 255).to(frames.dtype)
