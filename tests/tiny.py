"""A tiny untrained model for tests: every part is there, and nothing it makes means anything."""

from pathlib import Path
from typing import Any

import torch

from eve_cli.methods.base import Clip
from eve_cli.models import bundle
from eve_cli.models.families import mini
from eve_cli.models.parts import BundleSettings, Parts

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
    """Latents by chance of the tiny model's size, always the same, with nothing edited before."""
    source = torch.randn(frames, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    return Clip(source, source, range(frames), source[:0])
