"""The networks with the least work: what does not change between calls is computed once, and layers in one pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

from eve_cli.models.attention import told
from eve_cli.models.inference import layers
from eve_cli.models.inference.layers import Heads, Net, Shared
from eve_cli.models.inference.networks import Plain, Residuals, padded, spread
from eve_cli.models.inference.run import Run


@dataclass
class Fast:
    """Equal to `Plain` but for rounding, where a run does not ask for approximations; has no gradients.

    Kept for as long as the tensor lives that they were made of: a text's keys and values, and a control image behind
    its own convolutions. So whoever calls with the same tensor at every step pays for them once.
    """

    rows: int | None = None
    """Frames that layers without a view of time take at once; None takes all."""
    heads: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)
    control_images: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)

    def __deepcopy__(self, memo: dict[int, Any]) -> Fast:
        """Keeps nothing of what this one keeps."""
        return Fast(self.rows)

    def control(
        self, net: Net, x: Tensor, t: Tensor, text: Tensor, control_image: Tensor, labels: Tensor | None, run: Run
    ) -> Residuals:
        if told(net):
            return Plain().control(net, x, t, text, control_image, labels, run)
        wake(net)
        x = net.conv_in(_laid(x)) + self._control_image(net, control_image, x)
        branches = run.shown
        if labels is not None and len(labels) > len(t):  # they make branches differ from the first block on
            x, t, branches = layers.branched(x, run.shown), layers.branched(t, run.shown), 1
        shared = self._shared(net, t, labels, text, x.dtype, branches)
        return self._added(net, x, shared, run, 1)

    def first_frame(self, net: Net, x: Tensor, t: Tensor, text: Tensor, given: Tensor, run: Run) -> Residuals:
        wake(net)
        shared = self._shared(net, t, None, text, x.dtype, run.branches)
        x = net.conv_in(_laid(torch.zeros_like(x))) + net.controlnet_cond_embedding(_laid(given))
        return self._added(net, x, shared, run, len(x) // len(t))

    def unet(self, net: Net, x: Tensor, t: Tensor, text: Tensor, residuals: Residuals | None, run: Run) -> Tensor:
        if told(net):
            return Plain().unet(net, x, t, text, residuals, run)
        wake(net)
        shared, frames = self._shared(net, t, None, text, x.dtype, run.branches), len(x) // len(t)
        rows = len(x) * run.branches
        skips, x = self._down(net, net.conv_in(_laid(x)), shared, run, frames)
        if residuals is not None:
            down, mid = residuals
            skips = [_plus(skip, each) for skip, each in zip(skips, down, strict=False)]
            x = x if mid is None else _plus(x, mid)
        climbs = [(block, i) for block in net.up_blocks for i in range(len(block.resnets))]
        if run.fresh:
            outer = len(climbs) - run.outer
        else:
            climbs, outer = climbs[-run.outer :], -1
            x = run.kept[net, run.branch][:rows]  # of more branches, before guidance ended
        for number, (block, i) in enumerate(climbs):
            if number == outer and run.refresh > 1:
                run.kept[net, run.branch] = x
            skip = skips.pop()
            x = self._layer(block, i, torch.cat([x, skip], 1), shared, run, frames)
            if i + 1 == len(block.resnets) and block.upsamplers is not None:
                x = block.upsamplers[0](x, _size(skips[-1]))
        return net.conv_out(functional.silu(net.conv_norm_out(x)))

    def _added(self, net: Net, x: Tensor, shared: Shared, run: Run, frames: int) -> Residuals:
        skips, x = self._down(net, x, shared, run, frames)
        down = [conv(skip) for conv, skip in zip(net.controlnet_down_blocks, skips, strict=False)]
        return down, net.controlnet_mid_block(x) if run.fresh else None

    def _down(self, net: Net, x: Tensor, shared: Shared, run: Run, frames: int) -> tuple[list[Tensor], Tensor]:
        """The skips and the middle's output; the first skips alone where deeper layers are not due."""
        skips = [layers.branched(x, shared.branches)]
        for block in net.down_blocks:
            for i in range(len(block.resnets)):
                if not run.fresh and len(skips) == run.outer:
                    return skips, x
                x = self._layer(block, i, x, shared, run, frames, len(skips) == 1)
                skips.append(x)
            if block.downsamplers is not None:
                if not run.fresh and len(skips) == run.outer:
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
        self, block: Net, i: int, x: Tensor, shared: Shared, run: Run, frames: int, first: bool = False
    ) -> Tensor:
        attentions, space = getattr(block, "attentions", None), layers.branching if first else layers.space
        x = space(block.resnets[i], attentions[i] if attentions else None, x, shared)
        return self._time(block, i, x, run, frames)

    def _time(self, block: Net, i: int, x: Tensor, run: Run, frames: int) -> Tensor:
        modules = getattr(block, "motion_modules", None)
        if modules is None:
            return x
        n, channels, height, width = x.shape
        tokens = x.permute(0, 2, 3, 1).reshape(n // frames, frames, height * width, channels)
        layer = partial(layers.time, modules[i])
        added = layer(tokens) if run.windows is None else run.windows.through(layer, tokens, run.team)
        return x + added.reshape(n, height, width, channels).permute(0, 3, 1, 2)

    def _shared(
        self, net: Net, t: Tensor, labels: Tensor | None, text: Tensor, dtype: torch.dtype, branches: int
    ) -> Shared:
        embedding = net.time_embedding(net.time_proj(t).to(dtype))
        if labels is not None:
            label = net.class_embedding(labels)
            rows = max(len(label), len(embedding))
            embedding = spread(embedding, rows) + spread(label, rows)
        heads = partial(_heads, _kept(self.heads, text), text.to(dtype))
        return Shared(functional.silu(embedding), heads, len(text), branches, self.rows)

    def _control_image(self, net: Net, control_image: Tensor, x: Tensor) -> Tensor:
        known = _kept(self.control_images, control_image)
        if net not in known:
            frames = control_image.reshape(-1, *control_image.shape[-3:]).to(x.dtype)
            portions = frames.split(self.rows or len(frames))
            known[net] = torch.cat([net.controlnet_cond_embedding(_laid(each)) for each in portions])
        return known[net]


def _kept(table: WeakTensorKeyDictionary, key: Tensor) -> dict[Net, Any]:
    """What a table keeps of a tensor, for each module that made something of it."""
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


def _laid(x: Tensor) -> Tensor:
    """Channels last, which these layers read without copies."""
    return x.contiguous(memory_format=torch.channels_last)


def wake(net: Net) -> None:
    """What stands before a call of a network does its work: one that waits in main memory comes to the device."""
    hook = getattr(net, "_hf_hook", None)
    if hook is not None:
        hook.pre_forward(net)
    for hook in net._forward_pre_hooks.values():
        hook(net, ())
