"""How one clip is sampled: windows of the temporal layers, processes that share its frames, and cached layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from eve_cli.diffusion.samplers import Denoise

Layer = Callable[[Tensor], Tensor]
"""What a temporal layer adds to clips: (clips, frames, ...) to the same shape."""


@dataclass(frozen=True)
class ProcessGroup:
    """Processes that share the frames of a clip: each holds a stretch of them and sends its edges to its neighbours.

    This is process `rank` of `size`, for a clip of `frames` frames.
    """

    frames: int
    rank: int
    size: int

    @classmethod
    def of(cls, frames: int, least: int) -> ProcessGroup | None:
        """The group for a clip; None if there is one process, or fewer than `least` frames for each."""
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return None
        size = dist.get_world_size()
        return cls(frames, dist.get_rank(), size) if frames // size >= least else None

    @property
    def own(self) -> range:
        """The frames of this process."""
        return self.part(self.rank)

    def part(self, rank: int) -> range:
        """The frames of a process; the lengths differ by one frame at most."""
        return range(self.frames * rank // self.size, self.frames * (rank + 1) // self.size)

    def with_neighbours(self, own: Tensor, reach: int) -> tuple[Tensor, int]:
        """Own frames (clips, frames, ...) with up to `reach` more on either side, and the index of the first one."""
        edges = torch.cat([own[:, :reach], own[:, -reach:]], 1).contiguous()
        everyone = [torch.empty_like(edges) for _ in range(self.size)]
        dist.all_gather(everyone, edges)
        before = everyone[self.rank - 1][:, -reach:] if self.rank else own[:, :0]
        after = everyone[self.rank + 1][:, :reach] if self.rank + 1 < self.size else own[:, :0]
        return torch.cat([before, own, after], 1), self.own.start - before.shape[1]

    def gathered(self, own: Tensor) -> Tensor:
        """All frames (clips, frames, ...) of all processes, from the own frames of each."""
        longest = max(len(self.part(rank)) for rank in range(self.size))
        padded = torch.cat([own, own[:, :1].expand(-1, longest - own.shape[1], *own.shape[2:])], 1).contiguous()
        everyone = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(everyone, padded)
        return torch.cat([each[:, : len(self.part(rank))] for rank, each in enumerate(everyone)], 1)


@dataclass(frozen=True)
class Windows:
    """Windows of `length` frames for the temporal layers, each sharing `overlap` with the one before.

    All other layers compute each frame once, so an overlap costs in temporal layers alone. In each window a layer
    works as it was trained: positions from 0, norms over `length` frames (FreeNoise, Qiu et al. 2023, takes the norm
    over all frames). Where windows overlap their outputs are averaged, with weights that fall towards a window's ends.

    `at_once` windows are computed in one batch; None is as many as hold no more frames than the clip.
    """

    length: int
    overlap: int
    at_once: int | None = None

    def starts(self, frames: int) -> list[int]:
        """The first frame of each window; the last window ends with the clip, and so may overlap more."""
        last = max(frames - self.length, 0)
        return [*range(0, last, self.length - self.overlap), last]

    def apply(self, layer: Layer, tokens: Tensor, group: ProcessGroup | None = None) -> Tensor:
        """What `layer` adds to clips (clips, frames, ...), window by window.

        With a group `tokens` are this process's frames; those of its neighbours that its windows need are fetched.
        """
        first, frames, own = 0, tokens.shape[1], slice(None)
        starts = self.starts(frames)
        if group is not None:
            starts = self.starts(group.frames)
            tokens, first = group.with_neighbours(tokens, self.length - 1)
            frames, own = group.frames, slice(group.own.start - first, group.own.stop - first)
            starts = [s for s in starts if s < group.own.stop and s + self.length > group.own.start]
        if frames <= self.length:
            return layer(tokens)
        weights = self.weights(frames, tokens)
        added = torch.zeros_like(tokens)
        step = self.at_once or max(tokens.shape[1] // self.length, 1)
        for batch in (starts[i : i + step] for i in range(0, len(starts), step)):
            windows = torch.cat([tokens[:, start - first : start - first + self.length] for start in batch])
            for start, output in zip(batch, layer(windows).chunk(len(batch)), strict=True):
                added[:, start - first : start - first + self.length] += output * weights[start]
        return added[:, own]

    def weights(self, frames: int, like: Tensor) -> dict[int, Tensor]:
        """The weight of each window for its frames, by its start: (length, 1, ...), adding up to 1 at every frame."""
        position = torch.arange(self.length, device=like.device)
        weight = torch.minimum(position + 1, self.length - position).to(like.dtype)
        total = torch.zeros(frames, device=like.device, dtype=like.dtype)
        starts = self.starts(frames)
        for start in starts:
            total[start : start + self.length] += weight
        shape = (self.length, *(1,) * (like.ndim - 2))
        return {start: (weight / total[start : start + self.length]).view(shape) for start in starts}


@dataclass
class Sampling:
    """Settings of one sampling run, and the state that its steps share; make a new one for each clip."""

    windows: Windows | None = None
    """Of the temporal layers; None if they see the clip whole."""
    cache_interval: int = 1
    """Layers deeper than `cache_depth` skips are computed at every so many steps and reused in between (DeepCache,
    Ma et al. 2023): faster, with slightly different results."""
    cache_depth: int = 1
    guided_steps: int | None = None
    """The number of steps, from the first on, that use guidance; None is all."""
    keyframes: tuple[int, ...] = (0,)
    """The frames of the clip whose clean latents the model is given."""
    group: ProcessGroup | None = None
    branches: int = 1
    """Guidance branches in one batch: text and output hold so many times the rows of one, all else holds one's."""
    source_branches: int = 1
    """The number of them, from the first on, that are conditioned on the source."""
    step: int = 0
    """The current step, from 1."""
    branch: int = 0
    cache: dict[Any, Tensor] = field(default_factory=dict)

    @property
    def fresh(self) -> bool:
        """Whether this step computes all layers."""
        return (self.step - 1) % self.cache_interval == 0

    def own(self, clips: Tensor) -> Tensor:
        """This process's frames of clips (b, f, ...)."""
        return clips if self.group is None else clips[:, self.group.own.start : self.group.own.stop]

    def gathered(self, denoise: Denoise) -> Denoise:
        """A denoiser of this process's frames as one of whole clips."""
        group = self.group
        if group is None:
            return denoise
        return lambda noisy, t: group.gathered(denoise(self.own(noisy), t))
