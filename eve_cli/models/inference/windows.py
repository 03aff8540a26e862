"""Temporal layers over clips that are longer than they can see: overlapping windows, blended layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from eve_cli.models.inference.process_group import Team

Layer = Callable[[Tensor], Tensor]
"""What a temporal layer adds to clips: (clips, frames, ...) to the same."""


@dataclass(frozen=True)
class Windows:
    """Windows of `length` frames, each sharing `overlap` with the one before.

    All other layers see a frame once, so an overlap costs in temporal layers alone. In each window a layer sees what it
    was trained on: positions from 0, norms over `length` frames (FreeNoise, Qiu et al. 2023, takes the norm over all
    frames). Where windows overlap, what they add is blended, each window weighing most in its middle.

    `at_once` windows are computed together; None takes as many as hold no more frames than the clip.
    """

    length: int
    overlap: int
    at_once: int | None = None

    def starts(self, frames: int) -> list[int]:
        """The first frame of each window; the last window ends with the clip, and so may overlap more."""
        last = max(frames - self.length, 0)
        return [*range(0, last, self.length - self.overlap), last]

    def through(self, layer: Layer, tokens: Tensor, team: Team | None = None) -> Tensor:
        """What `layer` adds to clips (clips, frames, ...), window by window.

        With a team `tokens` are this process's frames; those of its neighbours that its windows need are fetched.
        """
        first, frames, own = 0, tokens.shape[1], slice(None)
        starts = self.starts(frames)
        if team is not None:
            starts = self.starts(team.frames)
            tokens, first = team.with_neighbours(tokens, self.length - 1)
            frames, own = team.frames, slice(team.own.start - first, team.own.stop - first)
            starts = [s for s in starts if s < team.own.stop and s + self.length > team.own.start]
        if frames <= self.length:
            return layer(tokens)
        shares = self.shares(frames, tokens)
        added = torch.zeros_like(tokens)
        step = self.at_once or max(tokens.shape[1] // self.length, 1)
        for group in (starts[i : i + step] for i in range(0, len(starts), step)):
            seen = torch.cat([tokens[:, start - first : start - first + self.length] for start in group])
            for start, made in zip(group, layer(seen).chunk(len(group)), strict=True):
                added[:, start - first : start - first + self.length] += made * shares[start]
        return added[:, own]

    def shares(self, frames: int, like: Tensor) -> dict[int, Tensor]:
        """How much each window counts for its frames, by its start: (length, 1, ...), over all windows adding to 1."""
        position = torch.arange(self.length, device=like.device)
        weight = torch.minimum(position + 1, self.length - position).to(like.dtype)
        total = torch.zeros(frames, device=like.device, dtype=like.dtype)
        starts = self.starts(frames)
        for start in starts:
            total[start : start + self.length] += weight
        shape = (self.length, *(1,) * (like.ndim - 2))
        return {start: (weight / total[start : start + self.length]).view(shape) for start in starts}
