"""The models that eve knows by name, each with the score it reached. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eve_cli.errors import ModelError
from eve_cli.models import folder


@dataclass(frozen=True)
class Preset:
    """A row of the table."""

    name: str
    summary: str
    licence: str
    home: str = "embedded"
    """`embedded` in the package and the repository, or where to get it."""
    scores: Mapping[str, float] = field(default_factory=dict)

    def path(self) -> Path | None:
        """Its folder on this machine, or None."""
        try:
            return folder.resolve(self.name)
        except ModelError:
            return None


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="mini",
            summary="small model of a procedural world, trained from nothing in this repository; 64x64, 8 frames",
            licence="Apache-2.0",
        ),
    )
}
