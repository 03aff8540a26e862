"""Trainable heads over frozen features that tell a teacher's samples from the student's.

After EVE, section 3.3, and Adversarial Diffusion Distillation: a projection of every token, conditions by projection
(inner products), one attention layer that joins them; no batch statistics, which would leak between frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.parametrizations import spectral_norm

WIDTH, INNER, HEADS = 64, 128, 4
LONGEST = 64  # frames


def _linear(inputs: int, outputs: int) -> nn.Module:
    return spectral_norm(nn.Linear(inputs, outputs))


class Projection(nn.Sequential):
    """Tokens (n, tokens, dim) to (n, tokens, WIDTH); not normalised, since their size tells what is blurred."""

    def __init__(self, dim: int) -> None:
        super().__init__(_linear(dim, INNER), nn.GELU(), _linear(INNER, WIDTH))


class Mixing(nn.Module):
    """One attention layer with a residual: tokens look at a context."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        asking = self.norm(tokens)
        about = asking if context is None else context
        with sdpa_kernel(SDPBackend.MATH):  # the quick kernels have no second derivative, which R1 needs
            return tokens + self.attention(asking, about, about, need_weights=False)[0]


class FrameHead(nn.Module):
    """D_e on one level of features: the edited frame, the input frame and the instruction."""

    def __init__(self, dim: int, text: int) -> None:
        super().__init__()
        self.judged, self.seen = Projection(dim), Projection(dim)
        self.words = _linear(text, WIDTH)
        self.mixing, self.plain = Mixing(), _linear(WIDTH, 1)

    def forward(self, judged: Tensor, seen: Tensor, words: Tensor) -> Tensor:
        reference, asked = self.seen(seen), self.words(words).unsqueeze(1)
        tokens = self.mixing(self.judged(judged), torch.cat([reference, asked], 1))
        return self.plain(tokens).squeeze(-1) + (tokens * (asked + reference)).sum(-1) / WIDTH**0.5


class ClipHead(nn.Module):
    """D_v on one level of features: the frames of a clip at each place, and the caption."""

    def __init__(self, dim: int, text: int) -> None:
        super().__init__()
        self.judged, self.words = Projection(dim), _linear(text, WIDTH)
        self.when = nn.Parameter(torch.randn(LONGEST, WIDTH) * 0.02)
        self.mixing, self.plain = Mixing(), _linear(WIDTH, 1)

    def forward(self, judged: Tensor, words: Tensor, frames: int) -> Tensor:
        tokens = self.judged(judged)
        n, places = tokens.shape[0] // frames, tokens.shape[1]
        rows = tokens.view(n, frames, places, WIDTH).transpose(1, 2).reshape(n * places, frames, WIDTH)
        rows = self.mixing(rows + self.when[:frames])
        asked = self.words(words).repeat_interleave(places, 0).unsqueeze(1)
        logits = self.plain(rows).squeeze(-1) + (rows * asked).sum(-1) / WIDTH**0.5
        return logits.view(n, -1)


class FrameDiscriminator(nn.Module):
    """D_e: logits (frames, tokens of all levels) for features of edited frames, of input frames, and texts (n, dim)."""

    def __init__(self, dims: Sequence[int], text: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(FrameHead(dim, text) for dim in dims)

    def forward(self, judged: Sequence[Tensor], seen: Sequence[Tensor], words: Tensor) -> Tensor:
        logits = [head(j, s, words) for head, j, s in zip(self.heads, judged, seen, strict=True)]
        return torch.cat(logits, 1)


class ClipDiscriminator(nn.Module):
    """D_v: logits (clips, tokens of all levels and frames) for features of a clip's frames, and texts (clips, dim)."""

    def __init__(self, dims: Sequence[int], text: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(ClipHead(dim, text) for dim in dims)

    def forward(self, judged: Sequence[Tensor], words: Tensor, frames: int) -> Tensor:
        return torch.cat([head(j, words, frames) for head, j in zip(self.heads, judged, strict=True)], 1)
