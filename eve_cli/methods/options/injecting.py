"""Options of `pnp`, and of what is built on it."""

from __future__ import annotations

from dataclasses import dataclass

from eve_cli.methods.options.inverting import InvertingOptions
from eve_cli.settings import setting


@dataclass(frozen=True)
class InjectingOptions(InvertingOptions):
    """For how long the source's attention and features take the place of the edit's (Tumanyan et al. 2023)."""

    share_attention: float = setting(
        0.5, "Share of the steps, from the first on, in which places attend as in the source.", min=0.0, max=1.0
    )
    share_features: float = setting(
        0.8, "Share of the steps, from the first on, with the source's features.", min=0.0, max=1.0
    )
