"""Trainable heads over frozen features that separate a teacher's samples from the student's.

After EVE, section 3.3, and Adversarial Diffusion Distillation: a projection of every token, conditions by projection
(inner products), and one attention layer; no batch statistics, which would leak between frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.parametrizations import spectral_norm

WIDTH, INNER, HEADS = 64, 128, 4
MAX_FRAMES = 64


def _linear(inputs: int, outputs: int) -> nn.Module:
    return spectral_norm(nn.Linear(inputs, outputs))


class Projection(nn.Sequential):
    """Tokens (n, tokens, dim) to (n, tokens, WIDTH); not normalised, since the norm of a token shows blur."""

    def __init__(self, dim: int) -> None:
        super().__init__(_linear(dim, INNER), nn.GELU(), _linear(INNER, WIDTH))


class ResidualAttention(nn.Module):
    """One attention layer with a residual, from tokens (n, tokens, WIDTH) to a context or to themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        queries = self.norm(tokens)
        keys = queries if context is None else context
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative, which R1 needs
            return tokens + self.attention(queries, keys, keys, need_weights=False)[0]


class FrameHead(nn.Module):
    """D_e on one level of features: the edited frame, the input frame and the instruction."""

    def __init__(self, dim: int, text: int) -> None:
        super().__init__()
        self.sample, self.source = Projection(dim), Projection(dim)
        self.text = _linear(text, WIDTH)
        self.attention, self.logit = ResidualAttention(), _linear(WIDTH, 1)

    def forward(self, sample: Tensor, source: Tensor, text: Tensor) -> Tensor:
        reference, instruction = self.source(source), self.text(text).unsqueeze(1)
        tokens = self.attention(self.sample(sample), torch.cat([reference, instruction], 1))
        return self.logit(tokens).squeeze(-1) + (tokens * (instruction + reference)).sum(-1) / WIDTH**0.5


class ClipHead(nn.Module):
    """D_v on one level of features: the frames of a clip at each place, and the caption."""

    def __init__(self, dim: int, text: int) -> None:
        super().__init__()
        self.sample, self.text = Projection(dim), _linear(text, WIDTH)
        self.frame_embedding = nn.Parameter(torch.randn(MAX_FRAMES, WIDTH) * 0.02)
        self.attention, self.logit = ResidualAttention(), _linear(WIDTH, 1)

    def forward(self, sample: Tensor, text: Tensor, frames: int) -> Tensor:
        tokens = self.sample(sample)
        n, places = tokens.shape[0] // frames, tokens.shape[1]
        rows = tokens.view(n, frames, places, WIDTH).transpose(1, 2).reshape(n * places, frames, WIDTH)
        rows = self.attention(rows + self.frame_embedding[:frames])
        caption = self.text(text).repeat_interleave(places, 0).unsqueeze(1)
        logits = self.logit(rows).squeeze(-1) + (rows * caption).sum(-1) / WIDTH**0.5
        return logits.view(n, -1)


class FrameDiscriminator(nn.Module):
    """D_e: logits (frames, tokens of all levels) for features of edited frames, of input frames, and texts (n, dim)."""

    def __init__(self, dims: Sequence[int], text: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(FrameHead(dim, text) for dim in dims)

    def forward(self, samples: Sequence[Tensor], sources: Sequence[Tensor], text: Tensor) -> Tensor:
        levels = zip(self.heads, samples, sources, strict=True)
        return torch.cat([head(sample, source, text) for head, sample, source in levels], 1)


class ClipDiscriminator(nn.Module):
    """D_v: logits (clips, tokens of all levels and frames) for features of a clip's frames, and texts (clips, dim)."""

    def __init__(self, dims: Sequence[int], text: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(ClipHead(dim, text) for dim in dims)

    def forward(self, samples: Sequence[Tensor], text: Tensor, frames: int) -> Tensor:
        levels = zip(self.heads, samples, strict=True)
        return torch.cat([head(sample, text, frames) for head, sample in levels], 1)
