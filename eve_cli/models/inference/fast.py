"""The networks computed with less work: what is the same in all steps once, and what is the same in all frames once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

from eve_cli.models.attention import is_modified
from eve_cli.models.inference import layers
from eve_cli.models.inference.layers import Heads, Net, Shared
from eve_cli.models.inference.networks import Plain, Residuals, padded, spread
from eve_cli.models.inference.sampling import Sampling
from eve_cli.runtime.oom import run_pre_hooks


@dataclass
class Fast:
    """Equal to `Plain` but for rounding, unless a run caches layers; has no gradients.

    The keys and values of a text, and the embedding of a control image, are kept as long as the tensor that they were
    computed from, so calls with the same tensor at every step compute them once.
    """

    rows: int | None = None
    """Frames that spatial layers compute at once; None is all."""
    heads: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)
    control_images: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)

    def __deepcopy__(self, memo: dict[int, Any]) -> Fast:
        """A copy with empty caches."""
        return Fast(self.rows)

    def control(
        self,
        net: Net,
        x: Tensor,
        t: Tensor,
        text: Tensor,
        control_image: Tensor,
        labels: Tensor | None,
        run: Sampling,
    ) -> Residuals:
        if is_modified(net):
            return Plain().control(net, x, t, text, control_image, labels, run)
        run_pre_hooks(net)
        x = net.conv_in(_channels_last(x)) + self._control_image(net, control_image, x)
        branches = run.source_branches
        if labels is not None and len(labels) > len(t):  # the branches differ from the first block on
            x, t, branches = layers.branched(x, run.source_branches), layers.branched(t, run.source_branches), 1
        shared = self._shared(net, t, labels, text, x.dtype, branches)
        return self._added(net, x, shared, run, 1)

    def first_frame(self, net: Net, x: Tensor, t: Tensor, text: Tensor, known: Tensor, run: Sampling) -> Residuals:
        run_pre_hooks(net)
        shared = self._shared(net, t, None, text, x.dtype, run.branches)
        x = net.conv_in(_channels_last(torch.zeros_like(x))) + net.controlnet_cond_embedding(_channels_last(known))
        return self._added(net, x, shared, run, len(x) // len(t))

    def unet(self, net: Net, x: Tensor, t: Tensor, text: Tensor, residuals: Residuals | None, run: Sampling) -> Tensor:
        if is_modified(net):
            return Plain().unet(net, x, t, text, residuals, run)
        run_pre_hooks(net)
        shared, frames = self._shared(net, t, None, text, x.dtype, run.branches), len(x) // len(t)
        rows = len(x) * run.branches
        skips, x = self._down(net, net.conv_in(_channels_last(x)), shared, run, frames)
        if residuals is not None:
            down, mid = residuals
            skips = [_plus(skip, each) for skip, each in zip(skips, down, strict=False)]
            x = x if mid is None else _plus(x, mid)
        up = [(block, i) for block in net.up_blocks for i in range(len(block.resnets))]
        if run.fresh:
            cached = len(up) - run.cache_depth
        else:
            up, cached = up[-run.cache_depth :], -1
            x = run.cache[net, run.branch][:rows]  # it has those of more branches, from before guidance ended
        for number, (block, i) in enumerate(up):
            if number == cached and run.cache_interval > 1:
                run.cache[net, run.branch] = x
            skip = skips.pop()
            x = self._layer(block, i, torch.cat([x, skip], 1), shared, run, frames)
            if i + 1 == len(block.resnets) and block.upsamplers is not None:
                x = block.upsamplers[0](x, _size(skips[-1]))
        return net.conv_out(functional.silu(net.conv_norm_out(x)))

    def _added(self, net: Net, x: Tensor, shared: Shared, run: Sampling, frames: int) -> Residuals:
        skips, x = self._down(net, x, shared, run, frames)
        down = [conv(skip) for conv, skip in zip(net.controlnet_down_blocks, skips, strict=False)]
        return down, net.controlnet_mid_block(x) if run.fresh else None

    def _down(self, net: Net, x: Tensor, shared: Shared, run: Sampling, frames: int) -> tuple[list[Tensor], Tensor]:
        """The skips and the middle's output; the first skips alone in a step that reuses the deeper layers."""
        skips = [layers.branched(x, shared.branches)]
        for block in net.down_blocks:
            for i in range(len(block.resnets)):
                if not run.fresh and len(skips) == run.cache_depth:
                    return skips, x
                x = self._layer(block, i, x, shared, run, frames, len(skips) == 1)
                skips.append(x)
            if block.downsamplers is not None:
                if not run.fresh and len(skips) == run.cache_depth:
                    return skips, x
                x = block.downsamplers[0](x)
                skips.append(x)
        middle = net.mid_block
        x = layers.space(middle.resnets[0], middle.attentions[0], x, shared)
        for i, resnet in enumerate(middle.resnets[1:]):
            x = self._time(middle, i, x, run, frames)
            after = middle.attentions[i + 1] if i + 1 < len(middle.attentions) else None
            x = layers.space(resnet, after, x, shared)
        return skips, x

    def _layer(
        self, block: Net, i: int, x: Tensor, shared: Shared, run: Sampling, frames: int, first: bool = False
    ) -> Tensor:
        attentions, space = getattr(block, "attentions", None), layers.branching if first else layers.space
        x = space(block.resnets[i], attentions[i] if attentions else None, x, shared)
        return self._time(block, i, x, run, frames)

    def _time(self, block: Net, i: int, x: Tensor, run: Sampling, frames: int) -> Tensor:
        modules = getattr(block, "motion_modules", None)
        if modules is None:
            return x
        n, channels, height, width = x.shape
        tokens = x.permute(0, 2, 3, 1).reshape(n // frames, frames, height * width, channels)
        layer = partial(layers.time, modules[i])
        added = layer(tokens) if run.windows is None else run.windows.apply(layer, tokens, run.group)
        return x + added.reshape(n, height, width, channels).permute(0, 3, 1, 2)

    def _shared(
        self, net: Net, t: Tensor, labels: Tensor | None, text: Tensor, dtype: torch.dtype, branches: int
    ) -> Shared:
        embedding = net.time_embedding(net.time_proj(t).to(dtype))
        if labels is not None:
            label = net.class_embedding(labels)
            rows = max(len(label), len(embedding))
            embedding = spread(embedding, rows) + spread(label, rows)
        heads = partial(_heads, _cached(self.heads, text), text.to(dtype))
        return Shared(functional.silu(embedding), heads, len(text), branches, self.rows)

    def _control_image(self, net: Net, control_image: Tensor, x: Tensor) -> Tensor:
        known = _cached(self.control_images, control_image)
        if net not in known:
            frames = control_image.reshape(-1, *control_image.shape[-3:]).to(x.dtype)
            pieces = frames.split(self.rows or len(frames))
            known[net] = torch.cat([net.controlnet_cond_embedding(_channels_last(each)) for each in pieces])
        return known[net]


def _cached(table: WeakTensorKeyDictionary, key: Tensor) -> dict[Net, Any]:
    """What was computed from a tensor, by the module that computed it."""
    if key not in table:
        table[key] = {}
    return table[key]


def _heads(known: dict[Net, Heads], text: Tensor, attention: Net) -> Heads:
    if attention not in known:
        known[attention] = layers.heads(attention, text)
    return known[attention]


def _plus(value: Tensor, more: Tensor) -> Tensor:
    """`more` may be for the first rows alone."""
    return value + padded(more, len(value))


def _size(x: Tensor) -> list[int]:
    return [x.shape[-2], x.shape[-1]]


def _channels_last(x: Tensor) -> Tensor:
    """The memory layout that these layers read without copies."""
    return x.contiguous(memory_format=torch.channels_last)
