"""Options of `assd`: each part of it can be left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eve_cli.errors import UsageError
from eve_cli.methods.options.dds import DDSOptions
from eve_cli.settings import setting


@dataclass(frozen=True)
class ASSDOptions(DDSOptions):
    """The parts of Adaptive Sliding Score Distillation."""

    sliding: Literal["error", "noise", "off"] = setting(
        "error",
        "Smooth over three frames the model's error on the source, or as in the paper the noise that it finds.",
    )
    mask: Literal["text", "printed", "off"] = setting(
        "text", "Where to smooth: as the paper's text says, as its formula is printed, or everywhere (off)."
    )
    tau: float = setting(0.3, "Size of the mask, as a share of the largest change.", min=0.0, max=1.0)
    fusion: float = setting(
        0.5, "Attention of the edit to itself; the rest is to the source, and 1 leaves this out.", min=0.0, max=1.0
    )
    fusion_layers: int = setting(3, "The last self-attention layers in which attention is shared.", min=0)
    joint: float = setting(1.0, "Weight of the backbone's own score, frame by frame; 0 leaves it out.", min=0.0)

    @property
    def fastest(self) -> float:
        """Two gradients that are added share what one may do."""
        return super().fastest / (1 + self.joint)

    def __post_init__(self) -> None:
        if self.mask != "text" and self.sliding == "off":
            raise UsageError(f"--mask {self.mask} says where to smooth: it does not go with --sliding off.")
