"""Adds the embedded weights to the wheel, where the checkout has them: the model, and the encoders of the world."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class EmbedWeights(BuildHookInterface):
    """Maps weights/mini to eve_cli/_weights/mini, and weights/world likewise."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before a wheel is built; an editable install reads the weights from the checkout."""
        for name in ("mini", "world"):
            weights = Path(self.root) / "weights" / name
            if version != "editable" and weights.is_dir():
                build_data["force_include"][str(weights)] = f"eve_cli/_weights/{name}"
