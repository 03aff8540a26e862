"""DINOv2 as frozen features, from a local folder (transformers' layout, safetensors)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Dinov2Model

from eve_cli.errors import ModelError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as DINOv2 was trained with
SIDE = 224
DEPTHS = (0.25, 0.5, 0.75, 1.0)  # layers that are read, as shares of the depth; and the patch embedding


class Dino:
    """Frames (n, 3, height, width) in [0, 1] to patch tokens [(n, tokens, dim), ...] of several layers.

    Nothing of it learns; gradients flow to the frames.
    """

    def __init__(self, model: Dinov2Model, side: int = SIDE) -> None:
        self.model = model.requires_grad_(False).eval()
        layers = model.config.num_hidden_layers
        self.layers = (0, *sorted({max(1, round(layers * depth)) for depth in DEPTHS}))
        self.dims = (model.config.hidden_size,) * len(self.layers)
        patch = model.config.patch_size
        assert isinstance(patch, int)
        self.side: int = side // patch * patch

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Dino:
        """From a folder with config.json and model.safetensors; ModelError if it holds no DINOv2."""
        try:
            model = Dinov2Model.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=dtype)
        except Exception as error:  # transformers raises anything from OSError to RuntimeError
            reason = str(error).strip().split("\n")[0].rstrip(".")
            raise ModelError(
                f"{folder} holds no DINOv2 ({reason}): it needs config.json and model.safetensors."
            ) from error
        return cls(model.to(device))  # pyright: ignore

    def __call__(self, frames: Tensor) -> list[Tensor]:
        frames = frames.float()  # resizing with antialiasing knows no bfloat16 on a CPU
        mean, std = (frames.new_tensor(row).view(3, 1, 1) for row in (MEAN, STD))
        small = F.interpolate(frames, size=(self.side, self.side), mode="bilinear", antialias=True, align_corners=False)
        states: Sequence[Tensor] = self.model(
            ((small - mean) / std).to(self.model.dtype), output_hidden_states=True
        ).hidden_states
        return [states[layer][:, 1:].float() for layer in self.layers]
