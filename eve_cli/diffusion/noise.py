"""Noise that depends on the seed and the frame alone, never on the window, the batch or the machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

FALLING = 3
"""The stream of the rows of `falling_noise`."""


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


def falling_noise(seed: int, frames: Sequence[int], shape: tuple[int, int, int], frames_a_row: int = 2) -> Tensor:
    """Noise like `frame_noise` that moves down by one row every `frames_a_row` frames, as if it fell.

    What a sampler makes of it, such as flakes, moves with it. Each row is drawn from its own seed, so the noise of a
    frame depends on the seed and its index alone.
    """
    channels, height, width = shape
    rows: dict[int, Tensor] = {}

    def row(number: int) -> Tensor:
        if number not in rows:
            generator = torch.Generator("cpu").manual_seed(frame_seed(seed, number, FALLING))
            rows[number] = torch.randn(channels, width, generator=generator)
        return rows[number]

    noises = [torch.stack([row(y - index // frames_a_row) for y in range(height)], 1) for index in frames]
    return torch.stack(noises) if noises else torch.empty(0, *shape)
