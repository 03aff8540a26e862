"""CLIP's figures by the world's own CLIP: comparable within the world alone."""

from __future__ import annotations

import torch

from eve_cli.evaluation.metrics.base import Column, Judged
from eve_cli.evaluation.metrics.gates import Gates
from eve_cli.evaluation.metrics.networks import WithClip
from eve_cli.evaluation.metrics.similarity import all_pairs


class WorldClip(WithClip):
    """Likeness of frames and, for tasks whose attributes it tells apart, of frames and caption."""

    checkpoint, square = "world-clip", None
    needs = frozenset({"weights", "captions"})
    columns = (
        Column("world_clip_frame", "world/clip-allpairs", "cos", 1, "-1-1", "likeness of all pairs of frames"),
        Column("world_clip_text", "world/clip-text", "cos", 1, "-1-1", "likeness of frames and output caption"),
        Column("world_clip_gain", "world/clip-text-gain", "cos", 1, "", "the same above the input copied"),
    )

    def open(self) -> None:
        super().open()
        self.gates = Gates.read(self.weights.find(self.checkpoint))

    def score(self, clip: Judged) -> dict[str, float]:
        seen = self.look(clip, clip.edited)
        found = {"world_clip_frame": all_pairs(seen)}
        closed = self.gates.closed(clip.pair.task)
        if closed:
            clip.note(f"world_clip_text: {closed}")
            return found | dict.fromkeys(("world_clip_text", "world_clip_gain"), torch.nan)
        caption = self.read(clip, clip.pair.output_caption)
        found["world_clip_text"] = float((seen @ caption.T).double().mean())
        copied = torch.nan if clip.source is None else float((self.look(clip, clip.source) @ caption.T).double().mean())
        return found | {"world_clip_gain": found["world_clip_text"] - copied}
