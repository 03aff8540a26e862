"""Modules that compute what those of torch, diffusers and peft compute, with less work, and stand in their places."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_dc import DCUpBlock2d
from diffusers.models.upsampling import Upsample2D
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.nn import functional

ONEDNN_ROWS = 128
"""Rows from which on oneDNN's matrix product is the faster one (docs/explanation/inference.md)."""


def optimize_for_inference(root: nn.Module, kernels: dict[nn.Parameter, nn.Parameter]) -> None:
    """Replaces layers of a network by faster ones that hold the same parameters under the same names.

    `kernels` are those of `TransposedUpsample`, by the weights that they are computed from, so that networks which
    share weights share kernels. The layers have gradients where those they replace have.
    """

    def faster(module: nn.Module) -> nn.Module | None:
        if type(module) is nn.Linear and has_onednn():
            return OneDNNLinear(module)
        return TransposedUpsample(module, kernels) if TransposedUpsample.replaces(module) else None

    replace_modules(root, faster)


def merge_low_rank(root: nn.Module) -> None:
    """Adds low-rank layers to the weights that they change, so that they cost nothing at each call.

    The layers that had some get weights of their own; all others stay shared with other networks.
    """
    replace_modules(root, lambda module: _merged(module) if isinstance(module, BaseTunerLayer) else None)


def replace_modules(root: nn.Module, replacement: Callable[[nn.Module], nn.Module | None]) -> None:
    """Replaces each module inside `root` for which `replacement` returns another one."""
    for parent in list(root.modules()):
        for name, module in list(parent.named_children()):
            if (other := replacement(module)) is not None:
                setattr(parent, name, other)


class OneDNNLinear(nn.Linear):
    """A linear layer that, in fp32 on a CPU without gradients, multiplies by oneDNN, which PyTorch uses for
    convolutions alone there; otherwise it is PyTorch's own."""

    def __init__(self, linear: nn.Linear) -> None:
        with torch.device("meta"):
            super().__init__(linear.in_features, linear.out_features, linear.bias is not None)
        self.weight, self.bias = linear.weight, linear.bias
        self.train(linear.training)

    def reset_parameters(self) -> None:
        """Nothing: the weights are those of the other layer."""

    def forward(self, input: Tensor) -> Tensor:
        return onednn_linear(input, self.weight, self.bias) if self.by_onednn(input) else super().forward(input)

    def by_onednn(self, x: Tensor) -> bool:
        """Whether oneDNN multiplies these rows."""
        plain = x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled()
        return not plain and x.numel() >= ONEDNN_ROWS * self.in_features


def geglu(layer: nn.Module, x: Tensor) -> Tensor:
    """The first half of a linear layer's output times the GELU of the second, (..., out / 2).

    oneDNN takes two passes over the rows, where PyTorch takes four and holds both halves.
    """
    if not isinstance(layer, OneDNNLinear) or layer.bias is None or not layer.by_onednn(x):
        value, gate = layer(x).chunk(2, -1)
        return value * functional.gelu(gate)
    (weight, gate_weight), (bias, gate_bias) = layer.weight.chunk(2), layer.bias.chunk(2)
    return onednn_linear(x, weight, bias, times=onednn_linear(x, gate_weight, gate_bias, gelu=True))


def onednn_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool = False, times: Tensor | None = None
) -> Tensor:
    """`x weight^T + bias` by oneDNN, then its GELU, or its product with `times`; (..., in) to (..., out).

    The operators are private to PyTorch and used for their speed (docs/explanation/inference.md); without them
    PyTorch's public ones compute the same but for rounding.
    """
    if has_onednn():
        if times is not None:
            return torch.ops.mkldnn._linear_pointwise.binary(x, times, weight, bias, "mul")
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu" if gelu else "none", [], "none")
    out = functional.linear(x, weight, bias)
    out = functional.gelu(out) if gelu else out
    return out if times is None else out * times


@cache
def has_onednn() -> bool:
    """Whether this PyTorch has oneDNN's operators of `onednn_linear`, and they take what is given to them here."""
    x, weight, bias = torch.ones(2, 3), torch.ones(4, 3), torch.ones(4)
    try:
        linear = torch.ops.mkldnn._linear_pointwise
        with torch.no_grad():
            linear(x, weight, bias, "none", [], "none")
            linear.binary(x, linear(x, weight, bias, "gelu", [], "none"), weight, bias, "mul")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.backends.mkldnn.is_available()


class TransposedUpsample(nn.Module):
    """Nearest-neighbour doubling and a 3 x 3 convolution as one transposed convolution.

    Each new pixel is a sum over four old ones, as doubled pixels are equal: 16 products where there were 36, and no
    doubled image in between. Stands for diffusers' Upsample2D and DCUpBlock2d.
    """

    def __init__(self, module: Any, kernels: dict[nn.Parameter, nn.Parameter]) -> None:
        super().__init__()
        self.conv: nn.Conv2d = module.conv
        self.repeats: int = module.repeats if getattr(module, "shortcut", False) else 0
        if module.conv.weight not in kernels:
            kernels[module.conv.weight] = nn.Parameter(_transposed(module.conv.weight), requires_grad=False)
        self.kernel = kernels[module.conv.weight]
        self.train(module.training)

    @staticmethod
    def replaces(module: Any) -> bool:
        """Whether a module doubles and convolves, and does nothing else."""
        conv = getattr(module, "conv", None)
        if not isinstance(conv, nn.Conv2d) or conv.weight.shape[-1] != 3:
            return False
        if type(module) is Upsample2D:
            plain = module.use_conv and not module.use_conv_transpose and module.norm is None and module.interpolate
        else:
            plain = type(module) is DCUpBlock2d and module.interpolate and module.interpolation_mode == "nearest"
        return bool(plain)

    def forward(self, hidden_states: Tensor, output_size: Any = None) -> Tensor:
        height, width = hidden_states.shape[-2:]
        if output_size is not None and tuple(output_size) != (2 * height, 2 * width):
            return self.conv(functional.interpolate(hidden_states, size=output_size, mode="nearest"))
        out = functional.conv_transpose2d(hidden_states, self.kernel, self.conv.bias, stride=2, padding=1)
        if self.repeats:
            out = out + functional.pixel_shuffle(hidden_states.repeat_interleave(self.repeats, 1), 2)
        return out


@torch.no_grad()
def _transposed(weight: Tensor) -> Tensor:
    """The kernel (in, out, 4, 4) of the transposed convolution, from (out, in, 3, 3)."""
    box = torch.ones(1, 1, 2, 2, device=weight.device)
    wide = functional.conv2d(weight.float().flatten(0, 1).unsqueeze(1), box, padding=1)
    kernel = wide.view(*weight.shape[:2], 4, 4).flip(-1, -2).transpose(0, 1)
    return kernel.to(weight.dtype).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _merged(layer: BaseTunerLayer) -> nn.Module:
    base: Any = layer.get_base_layer()
    weight = base.weight.float()
    for adapter in layer.active_adapters:
        if adapter in layer.lora_A:  # pyright: ignore
            weight = weight + layer.get_delta_weight(adapter).float()  # pyright: ignore
    merged = copy.copy(base)
    merged._parameters = dict(base._parameters)
    merged.weight = nn.Parameter(weight.to(base.weight.dtype), requires_grad=False)
    return merged
