"""Noise that depends on the seed and the frame alone, never on the window, the batch or the machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def frame_seed(seed: int, index: int, stream: int = 0) -> int:
    """A 63-bit seed for one frame of one stream."""
    digest = hashlib.blake2b(f"{seed}/{stream}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def frame_noise(seed: int, frames: Sequence[int], shape: tuple[int, int, int], stream: int = 0) -> Tensor:
    """Standard normal noise (frames, channels, height, width) for absolute frame indices, drawn on the CPU.

    The same (seed, index, stream) always gives the same noise, so a preview is a part of the final render. Streams keep
    the draws of different uses of one frame apart.
    """
    noises = [
        torch.randn(shape, generator=torch.Generator("cpu").manual_seed(frame_seed(seed, index, stream)))
        for index in frames
    ]
    return torch.stack(noises) if noises else torch.empty(0, *shape)
