"""Backbone and edit adapter together: text to image, and edits, before the backbone is frozen."""

from __future__ import annotations

import torch
from torch import Tensor

from eve_cli.data.batches import Source
from eve_cli.models.parts import Parts
from eve_cli.training.recipe import Batch
from eve_cli.training.recipes import common
from eve_cli.training.recipes.backbone import BackboneRecipe
from eve_cli.training.recipes.edit import EditRecipe


class JointRecipe(common.LatentRecipe):
    """The sum of both recipes' losses, each over a batch of its own; `text_share` is the relative size of that of
    captioned pictures.

    A small backbone that was trained on text alone keeps too little of what the adapter copies from the input.
    A video adapter must be trained again afterwards.
    """

    name = "joint"

    def __init__(
        self, parts: Parts, batch: int, seed: int = 0, source: Source | None = None, text_share: float = 1.0
    ) -> None:
        super().__init__(parts, batch, seed, source, largest_chunk=1)
        self.edits = EditRecipe(parts, batch, seed, source)
        self.pictures = BackboneRecipe(parts, max(1, round(text_share * batch)), seed, source)
        self.modules = self.pictures.modules | self.edits.modules

    def to(self, device: torch.device) -> None:
        """Moves all parts and the editors."""
        super().to(device)
        self.edits.to(device)
        self.pictures.to(device)

    def note(self) -> str:
        return self.edits.note()

    def batch(self, step: int, rank: int) -> Batch:
        return {"edits": self.edits.batch(step, rank), "pictures": self.pictures.batch(step, rank)}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        self.edits.progress = self.pictures.progress = self.progress
        edits, pictures = self.edits.step(batch["edits"]), self.pictures.step(batch["pictures"])
        return {"edit": edits.pop("velocity"), "text": pictures.pop("velocity")} | edits | pictures

    def preview(self, step: int) -> Tensor | None:
        return self.edits.preview(step)
