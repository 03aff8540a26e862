"""Frames as bytes and as floats."""

import torch
from torch import Tensor


def to_bytes(frames: Tensor) -> Tensor:
    """Floats in [0, 1] to uint8, rounded."""
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8)


def to_floats(frames: Tensor) -> Tensor:
    """uint8 to floats in [0, 1]."""
    return frames.float() / 255
