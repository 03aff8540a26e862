"""How a source of any size goes through a model of one size."""

import torch
from torch import Tensor

from eve_cli.models.config import BundleSettings


def model_size(settings: BundleSettings) -> tuple[int, int]:
    """(width, height) that the model works at; the source is stretched to it, so nothing of it is cut off."""
    return settings.pixels, settings.pixels


def to_bytes(frames: Tensor) -> Tensor:
    """Floats in [0, 1] to uint8, rounded."""
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8)


def to_floats(frames: Tensor) -> Tensor:
    """uint8 to floats in [0, 1]."""
    return frames.float() / 255
