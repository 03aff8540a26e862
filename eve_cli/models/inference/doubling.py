"""Doubling the resolution before a convolution, in one step."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_dc import DCUpBlock2d
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn import functional


class Doubling(nn.Module):
    """Nearest-neighbour doubling and a 3 x 3 convolution as one transposed convolution.

    Each new pixel is a sum over four old ones, as doubled pixels are equal: 16 products where there were 36, and no
    doubled picture in between. A diffusers module becomes one in place: its weights keep their names.
    """

    conv: nn.Conv2d
    kernel: nn.Parameter

    def forward(self, hidden_states: Tensor, output_size: Any = None) -> Tensor:
        height, width = hidden_states.shape[-2:]
        if output_size is not None and tuple(output_size) != (2 * height, 2 * width):
            return super().forward(hidden_states, output_size)  # pyright: ignore
        made = functional.conv_transpose2d(hidden_states, self.kernel, self.conv.bias, stride=2, padding=1)
        if getattr(self, "shortcut", False):
            beside = hidden_states.repeat_interleave(self.repeats, 1)  # pyright: ignore
            made = made + functional.pixel_shuffle(beside, 2)
        return made


class _Upsample(Doubling, Upsample2D):
    pass


class _UpBlock(Doubling, DCUpBlock2d):
    pass


KINDS: dict[type[nn.Module], type[Doubling]] = {Upsample2D: _Upsample, DCUpBlock2d: _UpBlock}


@torch.no_grad()
def doubled(tree: nn.Module, known: dict[nn.Parameter, nn.Parameter]) -> None:
    """Changes a network's doublings in place; `known` holds the kernels that were made, by the weights they are of."""
    for module in tree.modules():
        plain: Any = module
        if type(module) is Upsample2D:
            fits = plain.use_conv and not plain.use_conv_transpose and plain.norm is None and plain.interpolate
        else:
            fits = type(module) is DCUpBlock2d and plain.interpolate and plain.interpolation_mode == "nearest"
        if not fits or plain.conv.weight.shape[-1] != 3:
            continue
        if plain.conv.weight not in known:
            known[plain.conv.weight] = nn.Parameter(_kernel(plain.conv.weight), requires_grad=False)
        plain.__class__ = KINDS[type(module)]
        plain.kernel = known[plain.conv.weight]


def _kernel(weight: Tensor) -> Tensor:
    """(out, in, 3, 3) to that of the transposed convolution, (in, out, 4, 4)."""
    box = torch.ones(1, 1, 2, 2, device=weight.device)
    wide = functional.conv2d(weight.float().flatten(0, 1).unsqueeze(1), box, padding=1)
    kernel = wide.view(*weight.shape[:2], 4, 4).flip(-1, -2).transpose(0, 1)
    return kernel.to(weight.dtype).contiguous(memory_format=torch.channels_last)
