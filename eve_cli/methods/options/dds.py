"""Options of `dds`, and of what is built on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eve_cli.methods.options.captions import Captioned
from eve_cli.settings import setting

if TYPE_CHECKING:
    from eve_cli.models.config import BundleSettings

PATH = 20.0
"""Learning rate times updates: 0.1 times 200 in the paper of ASSD and in DDS's own code."""
FASTEST = 0.4
"""Learning rate where there are few updates: beyond it they smear more than they edit."""


@dataclass(frozen=True)
class DDSOptions(Captioned):
    """How latents are moved; `--steps` counts the updates."""

    rate: float | None = setting(
        None,
        f"Learning rate of the updates, which --steps counts (default: {PATH:g} / steps, at most {FASTEST:g}, or "
        f"{FASTEST / 2:g} where --joint adds a gradient).",
        metavar="X",
        min=0,
    )

    def usual(self, settings: BundleSettings) -> dict[str, Any]:
        """The papers' 200 updates and guidance of 7.5; for `mini` what docs/experiments.md found."""
        own = {"steps": 25, "guidance_scale": 4.0} if settings.name == "mini" else {"steps": 200, "guidance_scale": 7.5}
        return super().usual(settings) | own

    @property
    def fastest(self) -> float:
        """The highest learning rate that is chosen by default."""
        return FASTEST

    def rate_of(self, updates: int) -> float:
        """The learning rate where there are so many updates."""
        return min(PATH / updates, self.fastest) if self.rate is None else self.rate
