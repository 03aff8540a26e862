"""How an editor's networks are computed: by diffusers' own forward functions, or by faster ones (`fast.py`)."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from diffusers import UNetMotionModel
from torch import Tensor

from eve_cli.models.inference.layers import Net, branched
from eve_cli.models.inference.sampling import Sampling

Residuals = tuple[list[Tensor], Tensor | None]
"""What a ControlNet adds to a UNet's skips, and to its middle if that is computed."""


class Networks(Protocol):
    """Computes networks on n frames `x` (n, c, h, w), the frames of a clip being consecutive.

    `t` and the rows of `text` (clips, tokens, dim) divide n: each is used for as many consecutive frames.
    Where a run has several branches, the text and the output hold the rows of all, one branch after the other.
    """

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
        """A ControlNet's residuals; `control_image` holds latents or frames, in rows or in clips."""
        ...

    def first_frame(self, net: Net, x: Tensor, t: Tensor, text: Tensor, known: Tensor, run: Sampling) -> Residuals:
        """SparseCtrl's residuals; `known` (n, c + 1, h, w) are the latents of given frames and a mask."""
        ...

    def unet(self, net: Net, x: Tensor, t: Tensor, text: Tensor, residuals: Residuals | None, run: Sampling) -> Tensor:
        """A UNet's output; residuals may be for the first rows alone."""
        ...


class Plain:
    """By diffusers' forward functions: for training, and as the reference that `Fast` is tested against."""

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
        control_image = branched(control_image.reshape(-1, *control_image.shape[-3:]).to(x.dtype), run.source_branches)
        x, t = branched(x, run.source_branches), branched(t, run.source_branches)
        n = len(x)
        labels = None if labels is None else spread(labels, n)
        text = spread(text.to(x.dtype), n)
        return net(x, spread(t, n), text, control_image, class_labels=labels, return_dict=False)

    def first_frame(self, net: Net, x: Tensor, t: Tensor, text: Tensor, known: Tensor, run: Sampling) -> Residuals:
        x, t, known = (branched(each, run.branches) for each in (x, t, known))
        n, clips = len(x), len(t)
        latents, mask = (part.unflatten(0, (clips, -1)).transpose(1, 2) for part in (known[:, :-1], known[:, -1:]))
        shape = x.unflatten(0, (clips, -1)).transpose(1, 2)
        text = spread(text.to(x.dtype), n)
        return net(shape, t, text, latents, conditioning_mask=mask, return_dict=False)

    def unet(self, net: Net, x: Tensor, t: Tensor, text: Tensor, residuals: Residuals | None, run: Sampling) -> Tensor:
        x, t = branched(x, run.branches), branched(t, run.branches)
        n = len(x)
        more: dict[str, Any] = {}
        if residuals is not None:
            down, mid = residuals
            assert mid is not None
            more["down_block_additional_residuals"] = tuple(padded(each, n) for each in down)
            more["mid_block_additional_residual"] = padded(mid, n)
        text = spread(text.to(x.dtype), n)
        if not isinstance(net, UNetMotionModel):
            return net(x, spread(t, n), text, **more).sample
        clips = x.unflatten(0, (len(t), -1)).transpose(1, 2)
        return net(clips, t, text, **more).sample.transpose(1, 2).flatten(0, 1)


def spread(value: Tensor, rows: int) -> Tensor:
    """Each row repeated, up to `rows` in all."""
    return value if len(value) == rows else value.repeat_interleave(rows // len(value), 0)


def padded(value: Tensor, rows: int) -> Tensor:
    """With rows of zeros appended, up to `rows`."""
    rest = rows - len(value)
    return torch.cat([value, value.new_zeros(rest, *value.shape[1:])]) if rest else value


def added(one: Residuals, other: Residuals) -> Residuals:
    """The sum of two ControlNets' residuals; either may be for the first rows alone."""

    def plus(a: Tensor, b: Tensor) -> Tensor:
        rows = max(len(a), len(b))
        return padded(a, rows) + padded(b, rows)

    down = [plus(a, b) for a, b in zip(one[0], other[0], strict=True)]
    return down, None if one[1] is None or other[1] is None else plus(one[1], other[1])
