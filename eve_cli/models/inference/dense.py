"""Linear layers by oneDNN, which PyTorch uses for convolutions alone while it computes in fp32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAST = 128
"""Rows from which on oneDNN's product is the quicker one (docs/engine.md)."""


class Dense(nn.Linear):
    """A linear layer that, on a CPU and without gradients, multiplies by oneDNN; elsewhere it is PyTorch's own."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.by_onednn(input):
            return super().forward(input)
        return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")

    def by_onednn(self, x: Tensor) -> bool:
        """Whether oneDNN multiplies these rows."""
        plain = x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled()
        return not plain and x.numel() >= LEAST * self.in_features


def gated(layer: Any, x: Tensor) -> Tensor:
    """The first half of a linear layer's output times the GELU of the second, (..., out / 2); by oneDNN in two passes
    over the rows, where PyTorch takes four and holds both halves."""
    if not isinstance(layer, Dense) or layer.bias is None or not layer.by_onednn(x):
        value, gate = layer(x).chunk(2, -1)
        return value * functional.gelu(gate)
    (first, second), (shift, shift_second) = layer.weight.chunk(2), layer.bias.chunk(2)
    gate = torch.ops.mkldnn._linear_pointwise(x, second, shift_second, "gelu", [], "none")
    return torch.ops.mkldnn._linear_pointwise.binary(x, gate, first, shift, "mul")


def dense(tree: nn.Module) -> None:
    """Makes a network's linear layers dense ones, in place; their weights stay the same objects."""
    if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        for module in tree.modules():
            if type(module) is nn.Linear:
                module.__class__ = Dense
