"""The CLIP metrics with the CLIP trained on the world; comparable only within the world."""

from __future__ import annotations

import torch

from eve_cli.evaluation.metrics.base import Column, EditClip
from eve_cli.evaluation.metrics.gates import Gates
from eve_cli.evaluation.metrics.networks import WithClip
from eve_cli.evaluation.metrics.similarity import all_pairs


class WorldClip(WithClip):
    """Similarity of frames and, for tasks whose attributes it distinguishes, of frames and caption."""

    checkpoint, square = "world-clip", None
    needs = frozenset({"weights", "captions"})
    columns = (
        Column("world_clip_frame", "world/clip-allpairs", "cos", 1, "-1-1", "similarity of all pairs of frames"),
        Column("world_clip_text", "world/clip-text", "cos", 1, "-1-1", "similarity of frames and output caption"),
        Column("world_clip_gain", "world/clip-text-gain", "cos", 1, "", "the same minus that of the copied input"),
    )

    def open(self) -> None:
        super().open()
        self.gates = Gates.read(self.weights.find(self.checkpoint))

    def score(self, clip: EditClip) -> dict[str, float]:
        features = self.encode_frames(clip, clip.edited)
        values = {"world_clip_frame": all_pairs(features)}
        closed = self.gates.closed(clip.pair.task)
        if closed:
            clip.note(f"world_clip_text: {closed}")
            return values | dict.fromkeys(("world_clip_text", "world_clip_gain"), torch.nan)
        caption = self.encode_text(clip, clip.pair.output_caption)
        values["world_clip_text"] = float((features @ caption.T).double().mean())
        copied = (
            torch.nan
            if clip.source is None
            else float((self.encode_frames(clip, clip.source) @ caption.T).double().mean())
        )
        return values | {"world_clip_gain": values["world_clip_text"] - copied}
