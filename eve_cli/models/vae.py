"""One way to call the two kinds of vae that diffusers has: AutoencoderKL and AutoencoderDC."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderDC, AutoencoderKL
from torch import Tensor

from eve_cli.runtime.oom import run_pre_hooks

Vae = AutoencoderKL | AutoencoderDC


def encode(vae: Vae, images: Tensor) -> Tensor:
    """Images (n, 3, height, width) in [-1, 1] to the vae's own latents (n, c, h, w), without chance."""
    run_pre_hooks(vae)
    encoded: Any = vae.encode(images)
    return encoded.latent if isinstance(vae, AutoencoderDC) else encoded.latent_dist.mean


def decode(vae: Vae, latents: Tensor) -> Tensor:
    """The vae's own latents (n, c, h, w) to images (n, 3, height, width) near [-1, 1]."""
    run_pre_hooks(vae)
    decoded: Any = vae.decode(latents)  # pyright: ignore[reportArgumentType]
    return decoded.sample


def pieces(images: Tensor, scale: int = 1, at_once: int = 64) -> tuple[Tensor, ...]:
    """Images or latents (n, c, h, w) in pieces of as many pixels as `at_once` pictures of 64x64 have, or of one image.

    `scale` is how many pixels wide an element is. Large pictures would not fit into memory all at once.
    """
    pixels = images.shape[-1] * images.shape[-2] * scale**2
    return images.split(max(1, min(at_once, at_once * 64 * 64 // pixels)))


def factor(vae: Vae) -> int:
    """How many pixels wide a latent is."""
    key = "encoder_block_out_channels" if isinstance(vae, AutoencoderDC) else "block_out_channels"
    return 2 ** (len(vae.config[key]) - 1)


@torch.no_grad()
def change_basis(vae: Vae, matrix: Tensor) -> None:
    """Makes the vae's latents `matrix` (c, c) times what they were; what it decodes stays the same."""
    inverse = torch.linalg.inv(matrix)
    if isinstance(vae, AutoencoderDC):
        last: Any = vae.encoder.conv_out
        first: Any = vae.decoder.conv_in
        mean, spread = _shortcut(last.weight), _shortcut(first.weight.transpose(0, 1)).transpose(0, 1)
        spread = spread * (spread.shape[0] // spread.shape[1])  # the decoder's repeats, where the encoder's averages
        last.weight.copy_(_through(matrix, last.weight + mean) - mean)
        first.weight.copy_(_through(inverse.T, (first.weight + spread).transpose(0, 1)).transpose(0, 1) - spread)
    else:
        last, first = vae.quant_conv, vae.post_quant_conv
        count = len(matrix)
        last.weight[:count] = _through(matrix, last.weight[:count])
        first.weight.copy_(_through(inverse.T, first.weight.transpose(0, 1)).transpose(0, 1))
    last.bias[: len(matrix)] = matrix @ last.bias[: len(matrix)]


def _through(matrix: Tensor, kernel: Tensor) -> Tensor:
    """A convolution's kernel (out, in, h, w) followed by a matrix on its outputs."""
    return torch.einsum("ij,jkhw->ikhw", matrix, kernel)


def _shortcut(kernel: Tensor) -> Tensor:
    """AutoencoderDC's shortcut beside a narrowing convolution, the mean of groups of channels, as a kernel."""
    out, inward = kernel.shape[:2]
    group = inward // out
    mean = torch.zeros_like(kernel)
    middle = kernel.shape[-1] // 2
    for channel in range(out):
        mean[channel, channel * group : (channel + 1) * group, middle, middle] = 1 / group
    return mean


@torch.no_grad()
def visible_basis(vae: Vae, images: Tensor, probes: int = 12) -> Tensor:
    """The matrix (c, c) that orders latents by their visible effect, the strongest first.

    In a basis where a step of one length changes the picture by one amount, latents have few strong directions (light,
    colour) and many weak ones (detail), as pictures do. A diffusion model then settles the coarse before the fine. The
    full range is steep, so each direction keeps the square root of its variance.

    `images` (n, 3, height, width) in [-1, 1]; `probes` of them measure what a change of each channel does.
    """
    latents = encode(vae, images)
    flat = latents.transpose(0, 1).flatten(1)
    base, step = latents[:probes], 0.3 * flat.std(1)
    row, column = base.shape[-2] // 2, base.shape[-1] // 2
    responses, baseline = [], decode(vae, base)
    for channel, size in enumerate(step):
        moved = base.clone()
        moved[:, channel, row, column] += size
        responses.append((decode(vae, moved) - baseline).flatten() / size)
    effects = torch.stack(responses)
    energy, axes = torch.linalg.eigh(effects @ effects.T / len(base))
    root = axes * energy.clamp_min(1e-8).sqrt() @ axes.T
    variance, directions = torch.linalg.eigh(root @ torch.cov(flat) @ root)
    scale = variance.clamp_min(1e-8).pow(-0.25)
    return ((directions * scale).T @ root).flip(0)
