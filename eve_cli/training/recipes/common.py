"""Functions of the recipes over latents: encoding, tokens, weights and losses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eve_cli.data.batches import Source, World
from eve_cli.models import vae
from eve_cli.models.editor import Editor
from eve_cli.models.parts import Parts
from eve_cli.training.pool import Pool

CHUNK_BYTES = 2 << 30
"""Memory for the drawn frames of a chunk, before they are encoded. (A fixed number, so that runs can be repeated.)"""


class LatentRecipe:
    """Base of the recipes over latents: parts in an editor, a source, and chunks of samples."""

    progress = 0.0

    def __init__(self, parts: Parts, batch: int, seed: int, source: Source | None, largest_chunk: int) -> None:
        """A chunk of the pool has `largest_chunk` samples, or fewer where batches are small or frames large."""
        self.parts, self.count, self.seed = parts, batch, seed
        self.source = source or World()
        parts.channels_last()
        self.editor = Editor(parts, parts.device)
        self.modules: dict[str, nn.Module] = {}
        self.empty = parts.tokens([""])
        sample = self.frames * 3 * parts.settings.pixels**2 * torch.float32.itemsize
        self.chunk = max(4, min(largest_chunk, 32 * batch, CHUNK_BYTES // sample))

    @property
    def frames(self) -> int:
        """Frames of a sample, as they are drawn."""
        return 1

    @property
    def networks(self) -> tuple[nn.Module | None, ...]:
        """The networks of a step whose activations can be checkpointed."""
        return ()

    def note(self) -> str:
        """How often a sample of the pool is used, for the user."""
        pool: Pool | None = getattr(self, "pool", None)
        if pool is None:
            return ""
        uses = self.count * pool.every / self.chunk
        return (
            f"a pool of {self.chunk} x {pool.chunks} samples in each process, {self.chunk} of them new every "
            f"{pool.every} steps: each is used about {uses:.2g} times"
        )

    def to(self, device: torch.device) -> None:
        """Moves all parts and the editor."""
        self.editor.to(device)

    def parameters(self) -> Iterable[nn.Parameter]:
        return [p for module in self.modules.values() for p in module.parameters()]


def encode(editor: Editor, frames: Tensor) -> Tensor:
    """Frames (n, 3, side, side) in [0, 1] to normalised latents (n, c, h, w) on the CPU, in pieces.

    On the meta device they are zeros.
    """
    if editor.device.type == "meta":
        shape = (len(frames), editor.backbone.config["in_channels"], *editor.latent_size(*frames.shape[-2:]))
        return torch.zeros(shape)
    with editor.making():
        return torch.cat([editor.encode(piece).float().cpu() for piece in vae.pieces(frames)])


def shrink(weight: Tensor, size: Sequence[int]) -> Tensor:
    """Weights of pixels (n, height, width) as weights of latents (n, *size): twice the mean, at most 1."""
    return F.adaptive_avg_pool2d(weight.unsqueeze(1), (size[0], size[1])).squeeze(1).mul(2).clamp(0, 1)


def noisy_times(count: int, steps: int, generator: torch.Generator, bias: float = 1.0) -> Tensor:
    """Timesteps (count,); ``bias`` 1 is uniform, 2 favours high noise, where adapters act (t = 1 - u^2)."""
    u = torch.rand(count, generator=generator)
    return ((1 - u.pow(bias)) * steps).long().clamp(0, steps - 1)


def blank(ids: Tensor, empty: Tensor, where: Tensor) -> Tensor:
    """Token numbers with the rows at ``where`` replaced by the empty text."""
    return torch.where(where.unsqueeze(1), empty.to(ids).expand_as(ids), ids)


def weighted(error: Tensor, weight: Tensor, extra: float) -> Tensor:
    """Mean of squared errors (n, c, h, w), ``1 + extra`` times where ``weight`` (n, h, w) is one; a weighted mean."""
    w = 1 + extra * weight.unsqueeze(1)
    return (error.square() * w).mean() / w.mean()


def sheet(rows: Sequence[Tensor]) -> Tensor:
    """Rows of pictures (n, 3, h, w) to one picture."""
    return torch.cat([torch.cat(list(row), 2) for row in rows], 1).clamp(0, 1)
