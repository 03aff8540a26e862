"""Which model is loaded, and how. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ModelSpec:
    """All that `load_model` needs to know; two equal specs load the same editor."""

    name: str = "mini"
    """A bundle's name, or its folder."""
    backbone: str | None = None
    """Another Stable Diffusion 1.5 in place of the bundle's: a folder, a file, or a repository that was pulled."""
    lora: str | None = None
    """LoRA folders or files with their scales: `PATH[:X],...`."""
    edit_text: Literal["auto", "split", "instruction", "caption"] = "auto"
    """Which texts the networks read, as `BundleSettings.edit_text`; `auto` is the bundle's."""
    device: str = "auto"
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
