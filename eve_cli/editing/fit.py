"""How a source of any size goes through a model of one size."""

import torch
from torch import Tensor

from eve_cli.models.editor import Editor


def model_size(editor: Editor, width: int, height: int) -> tuple[int, int]:
    """(width, height) that the model works at for a source of a size; nothing of the source is cut off."""
    return editor.settings.frame_size(width, height, editor.unit)


def to_bytes(frames: Tensor) -> Tensor:
    """Floats in [0, 1] to uint8, rounded."""
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8)


def to_floats(frames: Tensor) -> Tensor:
    """uint8 to floats in [0, 1]."""
    return frames.float() / 255
