"""Similarity of frames by DINO: VBench's subject (DINO B/16, Caron et al. 2021) and EditVerse's (DINOv2 B/14)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Dinov2Model, ViTModel

from eve_cli.errors import ModelError
from eve_cli.evaluation.metrics.base import Column, EditClip, undefined
from eve_cli.evaluation.metrics.similarity import consecutive, with_first
from eve_cli.evaluation.weights import Weights
from eve_cli.perception.clip import first_line, load_quietly
from eve_cli.perception.viclip_inputs import IMAGENET

AT_ONCE = 16


class Subject:
    """VBench's: shorter side 224 without antialiasing, no crop."""

    checkpoint = "dino-b16"
    needs: frozenset[str] = frozenset({"weights"})
    columns: tuple[Column, ...] = (
        Column("vbench_subject", "vbench/subject", "cos", 1, "0-1", "similarity of frames by DINO, as in VBench"),
    )
    network: Any = ViTModel
    options: Mapping[str, Any] = {"add_pooling_layer": False}
    short, cut, antialias = 224, None, False
    formula: Callable[[Tensor], float] = staticmethod(with_first)

    def __init__(self, weights: Weights, device: str = "cpu") -> None:
        self.weights, self.device = weights, device

    def missing(self) -> str | None:
        return self.weights.trouble(self.checkpoint)

    def open(self) -> None:
        folder = self.weights.find(self.checkpoint)
        try:
            model = load_quietly(self.network, folder, **self.options)
        except Exception as error:  # transformers raises anything from OSError to RuntimeError
            raise ModelError(f"{folder} contains no usable DINO ({first_line(error)}).") from error
        self.model = model.eval().to(self.device)
        self.stamp = self.weights.stamp(self.checkpoint)

    def score(self, clip: EditClip) -> dict[str, float]:
        name = self.columns[0].name
        if len(clip.edited) < 2:
            return undefined(clip, [name], "a single frame has no next")
        return {name: self.formula(clip.features(clip.edited, self.stamp, self.encode))}

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> Tensor:
        """The class token (n, dim) after the last norm."""
        return torch.cat([self._encode(piece) for piece in frames.split(AT_ONCE)])

    def _encode(self, frames: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        least = min(height, width)
        size = [self.short * height // least, self.short * width // least]
        small = F.interpolate(frames.float(), size, mode="bicubic", align_corners=False, antialias=self.antialias)
        if self.cut:
            top, left = round((size[0] - self.cut) / 2), round((size[1] - self.cut) / 2)
            small = small[..., top : top + self.cut, left : left + self.cut]
        mean, std = (torch.tensor(row).view(3, 1, 1) for row in IMAGENET)
        pixels = ((small.round().clamp(0, 255) / 255 - mean) / std).to(self.device)
        return self._forward(pixels).last_hidden_state[:, 0].float().cpu()

    def _forward(self, pixels: Tensor) -> Any:
        return self.model(pixels, interpolate_pos_encoding=True)


class Consecutive(Subject):
    """EditVerse's: shorter side 256, the middle 224, each frame and the next."""

    checkpoint = "dinov2-b14"
    columns = (
        Column(
            "editverse_dino",
            "editverse/dino-consec",
            "cos",
            1,
            "0-1",
            "similarity of each frame and the next by DINOv2",
            {"editversebench": {"TokenFlow": 0.9809, "InsV2V": 0.9657, "Lucy Edit": 0.9838, "EditVerse": 0.9842}},
        ),
    )
    network: Any = Dinov2Model
    options: Mapping[str, Any] = {}
    short, cut, antialias = 256, 224, True
    formula = staticmethod(lambda features: consecutive(features, least=0.0))

    def _forward(self, pixels: Tensor) -> Any:
        return self.model(pixels)
