"""Options of `sdedit`."""

from dataclasses import dataclass

from eve_cli.methods.options.base import MethodOptions
from eve_cli.settings import setting


@dataclass(frozen=True)
class SDEditOptions(MethodOptions):
    """How much of the source is drowned."""

    strength: float = setting(0.75, "The share of the noise to start from.", min=0.01, max=1.0)
