"""Processes that share the frames of a clip: each holds a stretch of them, and lends its edges to its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Team:
    """One process of several: `rank` of `size`, for a clip of `frames` frames."""

    frames: int
    rank: int
    size: int

    @classmethod
    def of(cls, frames: int, least: int) -> Team | None:
        """The team for a clip; None where there is one process, or less than `least` frames for each."""
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return None
        size = dist.get_world_size()
        return cls(frames, dist.get_rank(), size) if frames // size >= least else None

    @property
    def own(self) -> range:
        """The frames of this process."""
        return self.part(self.rank)

    def part(self, rank: int) -> range:
        """The frames of a process; parts differ by one frame at most."""
        return range(self.frames * rank // self.size, self.frames * (rank + 1) // self.size)

    def with_neighbours(self, own: Tensor, reach: int) -> tuple[Tensor, int]:
        """Own frames (clips, frames, ...) and up to `reach` on either side, and the number of the first of them."""
        edges = torch.cat([own[:, :reach], own[:, -reach:]], 1).contiguous()
        everyone = [torch.empty_like(edges) for _ in range(self.size)]
        dist.all_gather(everyone, edges)
        before = everyone[self.rank - 1][:, -reach:] if self.rank else own[:, :0]
        after = everyone[self.rank + 1][:, :reach] if self.rank + 1 < self.size else own[:, :0]
        return torch.cat([before, own, after], 1), self.own.start - before.shape[1]

    def gathered(self, own: Tensor) -> Tensor:
        """All frames (clips, frames, ...) of all processes, from each one's own."""
        longest = max(len(self.part(rank)) for rank in range(self.size))
        padded = torch.cat([own, own[:, :1].expand(-1, longest - own.shape[1], *own.shape[2:])], 1).contiguous()
        everyone = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(everyone, padded)
        return torch.cat([each[:, : len(self.part(rank))] for rank, each in enumerate(everyone)], 1)
