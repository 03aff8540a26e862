"""A tiny untrained model for tests, with all parts."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eve_cli.methods.base import Clip
from eve_cli.models import bundle, lora
from eve_cli.models.families import mini
from eve_cli.models.parts import BundleSettings, Parts
from eve_cli.models.share_weights import shared_unet

WORDS = ("add", "remove", "make", "it", "the", "a", "red", "car", "snowy", "night", "and")


def tiny_parts(**options: Any) -> Parts:
    """Fresh tiny parts; `options` are those of `mini.build`."""
    settings = options.pop("settings", BundleSettings(name="tiny", steps=3, frames=4, long="sequential"))
    return mini.build(WORDS, mini.TINY, settings, **options)


def tiny_bundle(path: Path, **options: Any) -> Path:
    """Saves a fresh tiny bundle at `path` and returns `path`."""
    bundle.save(tiny_parts(**options), path)
    return path


def tiny_clip(frames: int = 4) -> Clip:
    """A clip of random latents of the tiny model's size, from a fixed seed, without edited frames before it."""
    source = torch.randn(frames, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    return Clip(source, source, range(frames), source[:0])


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Gaussian noise of a shape and seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def randomized(parts: Parts) -> Parts:
    """Sets every weight that starts at zero to random values, so that all adapters have an effect."""
    generator = torch.Generator().manual_seed(5)
    for _, module in parts.modules():
        for parameter in module.parameters():
            if not parameter.detach().any():
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return parts


def lora_weights(parts: Parts, rank: int = 2, seed: int = 3) -> dict[str, Tensor]:
    """Random weights of a LoRA on all layers of a backbone."""
    unet = shared_unet(parts.backbone)
    for parameter in lora.add(unet, rank):
        parameter.data = normal(*parameter.shape, seed=seed) * 0.2
    return {name: tensor.detach() for name, tensor in lora.weights(unet).items()}
