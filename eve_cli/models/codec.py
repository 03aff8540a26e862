"""One way to call the two kinds of codec that diffusers has: AutoencoderKL and AutoencoderDC."""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderDC, AutoencoderKL
from torch import Tensor

Codec = AutoencoderKL | AutoencoderDC


def encode(codec: Codec, images: Tensor) -> Tensor:
    """Images (n, 3, height, width) in [-1, 1] to the codec's own latents (n, c, h, w), without chance."""
    encoded: Any = codec.encode(images)
    return encoded.latent if isinstance(codec, AutoencoderDC) else encoded.latent_dist.mean


def decode(codec: Codec, latents: Tensor) -> Tensor:
    """The codec's own latents (n, c, h, w) to images (n, 3, height, width) near [-1, 1]."""
    decoded: Any = codec.decode(latents)
    return decoded.sample


def factor(codec: Codec) -> int:
    """How many pixels wide a latent is."""
    key = "encoder_block_out_channels" if isinstance(codec, AutoencoderDC) else "block_out_channels"
    return 2 ** (len(codec.config[key]) - 1)
