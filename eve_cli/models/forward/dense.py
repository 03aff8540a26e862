"""Linear layers by oneDNN, which PyTorch uses for convolutions alone while it computes in fp32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEAST = 128
"""Rows from which on oneDNN's product is the quicker one (docs/engine.md)."""


class Dense(nn.Linear):
    """A linear layer that, on a CPU and without gradients, multiplies by oneDNN; elsewhere it is PyTorch's own."""

    def forward(self, input: Tensor) -> Tensor:
        plain = input.device.type != "cpu" or input.dtype != torch.float32 or torch.is_grad_enabled()
        if plain or input.numel() < LEAST * self.in_features:
            return super().forward(input)
        return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")


def dense(tree: nn.Module) -> None:
    """Makes a network's linear layers dense ones, in place; their weights stay the same objects."""
    if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        for module in tree.modules():
            if type(module) is nn.Linear:
                module.__class__ = Dense
