"""The layers of diffusers' Stable Diffusion 1.5 networks, on frames (n, c, h, w), with less work for the same numbers.

Where a diffusers module repeats per frame what is one per clip (time embeddings, keys and values of the text), these
functions do it once. Weights are the modules' own, so low-rank layers inside them act as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn
from torch.nn import functional

from eve_cli.models.inference.dense import gated

Net = Any
"""A diffusers module; its attributes are not typed."""
Heads = tuple[Tensor, Tensor]
"""Keys and values, each (clips, heads, tokens, width of a head)."""


@dataclass(frozen=True)
class Shared:
    """What all layers of a pass share.

    `embedding` (m, dim) is that of the timestep, behind its activation; `text` gives an attention's keys and values.
    The rows of both divide the number of frames: each stands for as many frames that follow each other.
    """

    embedding: Tensor
    text: Callable[[Net], Heads]
    clips: int
    """Rows of the text."""
    branches: int = 1
    """Of guidance: they differ by the text alone, and `embedding` is for one of them."""
    rows: int | None = None
    """Frames that layers without a view of time take at once, to need less memory; None takes all."""


def branching(resnet: Net, attention: Net | None, x: Tensor, shared: Shared) -> Tensor:
    """A network's first block, from the frames of one branch to those of all: they part where they read the text."""
    if shared.branches == 1 or attention is None or shared.rows is not None:
        return space(resnet, attention, branched(x, shared.branches), shared)
    return _space(resnet, attention, x, _shift(resnet, shared, len(x)), shared.text, shared.clips, shared.branches)


def branched(x: Tensor, branches: int) -> Tensor:
    """The same frames for every branch."""
    return x if branches == 1 else x.repeat(branches, *(1,) * (x.ndim - 1))


def _shift(resnet: Net, shared: Shared, rows: int) -> Tensor:
    """What the timestep adds to each of the frames of one branch."""
    shift = resnet.time_emb_proj(shared.embedding)
    return shift.repeat_interleave(rows // len(shift), 0)[:, :, None, None]


def space(resnet: Net, attention: Net | None, x: Tensor, shared: Shared) -> Tensor:
    """A residual block and the spatial transformer behind it, if there is one."""
    shift = branched(_shift(resnet, shared, len(x) // shared.branches), shared.branches)
    if shared.rows is None or shared.rows >= len(x):
        return _space(resnet, attention, x, shift, shared.text, shared.clips)
    made = []
    for frames, clips in portions(len(x), shared.clips, shared.rows):

        def text(each: Net, clips: slice = clips) -> Heads:
            keys, values = shared.text(each)
            return keys[clips], values[clips]

        made.append(_space(resnet, attention, x[frames], shift[frames], text, clips.stop - clips.start))
    return torch.cat(made)


def portions(frames: int, clips: int, rows: int) -> Iterator[tuple[slice, slice]]:
    """Slices of at most `rows` of all frames, each with that of its clips: whole clips, or a part of a single one."""
    length = frames // clips
    if rows >= length:
        step = rows // length
        for clip in range(0, clips, step):
            stop = min(clip + step, clips)
            yield slice(clip * length, stop * length), slice(clip, stop)
        return
    for clip in range(clips):
        for start in range(0, length, rows):
            first = clip * length
            yield slice(first + start, first + min(start + rows, length)), slice(clip, clip + 1)


def _space(
    resnet: Net,
    attention: Net | None,
    x: Tensor,
    shift: Tensor,
    text: Callable[[Net], Heads],
    clips: int,
    branches: int = 1,
) -> Tensor:
    inner = resnet.conv1(functional.silu(resnet.norm1(x))) + shift
    inner = resnet.conv2(functional.silu(resnet.norm2(inner)))
    x = inner + (x if resnet.conv_shortcut is None else resnet.conv_shortcut(x))
    return x if attention is None else _transformer(attention, x, text, clips, branches)


def _transformer(module: Net, x: Tensor, text: Callable[[Net], Heads], clips: int, branches: int) -> Tensor:
    n, height, width = branches * len(x), x.shape[-2], x.shape[-1]
    linear = module.use_linear_projection
    inner = module.norm(x) if linear else module.proj_in(module.norm(x))
    tokens = inner.permute(0, 2, 3, 1).reshape(len(x), height * width, -1)
    tokens = module.proj_in(tokens) if linear else tokens
    for block in module.transformer_blocks:
        tokens = tokens + attend(block.attn1, block.norm1(tokens))
        if len(tokens) < n:
            tokens, x = branched(tokens, branches), branched(x, branches)
        # all frames of a clip ask the same text, so they ask it as one long sequence
        asked = block.norm2(tokens).view(clips, -1, tokens.shape[-1])
        tokens = tokens + attend(block.attn2, asked, text(block.attn2)).view_as(tokens)
        tokens = tokens + _feed_forward(block.ff, block.norm3(tokens))
    tokens = module.proj_out(tokens) if linear else tokens
    inner = tokens.view(n, height, width, -1).permute(0, 3, 1, 2)
    return x + (inner if linear else module.proj_out(inner))


def time(module: Net, tokens: Tensor) -> Tensor:
    """What a temporal transformer adds to clips (clips, frames, places, dim)."""
    clips, frames, places, dim = tokens.shape
    # the norm is over all frames of a clip: they stand as one tall picture, channels last
    tall = tokens.reshape(clips, frames * places, 1, dim).permute(0, 3, 1, 2)
    inner = module.norm(tall).permute(0, 2, 3, 1).reshape(clips, frames, places, dim)
    inner = module.proj_in(inner.transpose(1, 2).reshape(clips * places, frames, dim))
    for block in module.transformer_blocks:
        inner = inner + attend(block.attn1, block.pos_embed(block.norm1(inner)))
        if block.attn2 is not None:  # SparseCtrl has one attention, AnimateDiff two
            inner = inner + attend(block.attn2, block.pos_embed(block.norm2(inner)))
        inner = inner + _feed_forward(block.ff, block.norm3(inner))
    return module.proj_out(inner).view(clips, places, frames, dim).transpose(1, 2)


def attend(module: Net, tokens: Tensor, read: Heads | None = None) -> Tensor:
    """Attention of tokens (n, length, dim) to themselves, or to keys and values."""
    keys, values = heads(module, tokens) if read is None else read
    found = functional.scaled_dot_product_attention(_split(module, module.to_q(tokens)), keys, values)
    return module.to_out[0](found.transpose(1, 2).flatten(2))


def heads(module: Net, tokens: Tensor) -> Heads:
    """The keys and values that an attention makes of tokens."""
    return _split(module, module.to_k(tokens)), _split(module, module.to_v(tokens))


def _split(module: Net, tokens: Tensor) -> Tensor:
    n, length, dim = tokens.shape
    return tokens.view(n, length, module.heads, dim // module.heads).transpose(1, 2)


def _feed_forward(module: Net, tokens: Tensor) -> Tensor:
    return module.net[2](gated(module.net[0].proj, tokens))


def known(net: nn.Module) -> bool:
    """Whether all layers of a network are of the kinds that this file computes."""
    for module in net.modules():
        layer: Net = module
        if isinstance(module, ResnetBlock2D):
            plain = layer.time_embedding_norm == "default" and not layer.skip_time_act and layer.time_emb_proj
            if not plain or layer.up or layer.down or layer.output_scale_factor != 1:
                return False
            if not isinstance(layer.nonlinearity, nn.SiLU):
                return False
        elif isinstance(module, Transformer2DModel):
            if not layer.is_input_continuous:
                return False
        elif isinstance(module, BasicTransformerBlock):
            if layer.norm_type != "layer_norm" or layer.only_cross_attention:
                return False
            if type(layer.ff.net[0]).__name__ != "GEGLU" or layer.attn1.upcast_attention:
                return False
    return True
