"""The ViCLIP metrics with the ViCLIP trained on the world; comparable only within the world."""

from __future__ import annotations

import torch

from eve_cli.evaluation.metrics.base import EditClip
from eve_cli.evaluation.metrics.gates import Gates
from eve_cli.evaluation.metrics.viclip import Internvid, columns


class WorldViclip(Internvid):
    """dir and out, for tasks whose attributes it distinguishes on held-out clips."""

    name, checkpoint = "world_viclip", "world-viclip"
    columns = columns("world_viclip", "world/viclip")

    def open(self) -> None:
        super().open()
        self.gates = Gates.read(self.weights.file(self.checkpoint).parent)

    def score(self, clip: EditClip) -> dict[str, float]:
        closed = self.gates.closed(clip.pair.task)
        if closed:
            clip.note(f"{self.name}: {closed}")
            return {column.name: torch.nan for column in self.columns}
        return super().score(clip)
