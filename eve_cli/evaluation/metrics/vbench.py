"""Three of VBench's dimensions (Huang et al. 2024): flicker, background by CLIP B/32, subject by DINO B/16."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import ViTModel

from eve_cli.errors import ModelError
from eve_cli.evaluation.metrics.base import Column, Judged, Plain, undefined
from eve_cli.evaluation.metrics.networks import WithClip
from eve_cli.evaluation.metrics.similarity import with_first
from eve_cli.perception.clip import first_line
from eve_cli.perception.viclip_inputs import IMAGENET

SIDE = 224


class Flicker(Plain):
    """(255 - mean |difference of consecutive frames|) / 255: meant for still scenes alone."""

    needs = frozenset()
    columns = (Column("vbench_flicker", "vbench/flicker", "", 1, "0-1", "sameness of consecutive frames; 1: frozen"),)

    def score(self, clip: Judged) -> dict[str, float]:
        if len(clip.edited) < 2:
            return undefined(clip, ["vbench_flicker"], "one frame has no next")
        frames = clip.edited.double()
        return {"vbench_flicker": 1 - float((frames[1:] - frames[:-1]).abs().mean()) / 255}


class Background(WithClip):
    """Half the likeness to the frame before, half to the first, by CLIP B/32."""

    checkpoint, square = "clip-b32", None
    columns = (
        Column("vbench_background", "vbench/background", "cos", 1, "0-1", "likeness of frames by CLIP, VBench's way"),
    )

    def score(self, clip: Judged) -> dict[str, float]:
        if len(clip.edited) < 2:
            clip.note("vbench_background: one frame has no next")
        return {"vbench_background": with_first(self.look(clip, clip.edited))}


class Subject(WithClip):
    """The same by DINO B/16 (Caron et al. 2021)."""

    checkpoint = "dino-b16"
    columns = (Column("vbench_subject", "vbench/subject", "cos", 1, "0-1", "likeness of frames by DINO, VBench's way"),)

    def open(self) -> None:
        folder = self.weights.find(self.checkpoint)
        try:
            self.model = ViTModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, add_pooling_layer=False
            )
        except Exception as error:
            raise ModelError(f"{folder} holds no usable DINO ({first_line(error)}).") from error
        self.model = self.model.eval().to(self.device)
        self.stamp = self.weights.stamp(self.checkpoint)

    def score(self, clip: Judged) -> dict[str, float]:
        if len(clip.edited) < 2:
            clip.note("vbench_subject: one frame has no next")
        return {"vbench_subject": with_first(clip.seen(clip.edited, self.stamp, self._look))}

    @torch.inference_mode()
    def _look(self, frames: Tensor) -> Tensor:
        mean, std = (torch.tensor(row).view(3, 1, 1) for row in IMAGENET)
        found = []
        for piece in frames.split(16):
            height, width = piece.shape[-2:]
            short = min(height, width)
            size = (SIDE * height // short, SIDE * width // short)
            small = F.interpolate(piece.float(), size, mode="bicubic", align_corners=False, antialias=False)
            pixels = (small.round().clamp(0, 255) / 255 - mean) / std
            seen = self.model(pixels.to(self.device), interpolate_pos_encoding=True)
            found.append(seen.last_hidden_state[:, 0].float().cpu())
        return torch.cat(found)
