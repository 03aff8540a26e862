"""Low-rank layers worked into the weights that they change, so that they cost nothing at each call."""

from __future__ import annotations

import copy
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from eve_cli.models.low_rank import Tree


@torch.no_grad()
def merged(tree: Tree) -> Tree:
    """The same tree without low-rank layers: those that had some get weights of their own, the rest stay shared.

    Changes the tree in place; other trees over the same weights are left as they are.
    """
    for name, module in list(tree.named_modules()):
        if isinstance(module, BaseTunerLayer):
            parent, _, leaf = name.rpartition(".")
            setattr(tree.get_submodule(parent), leaf, _plain(module))
    return tree


def _plain(layer: BaseTunerLayer) -> nn.Module:
    base: Any = layer.get_base_layer()
    weight = base.weight.float()
    for adapter in layer.active_adapters:
        if adapter in layer.lora_A:  # pyright: ignore
            weight = weight + layer.get_delta_weight(adapter).float()  # pyright: ignore
    plain = copy.copy(base)
    plain._parameters = dict(base._parameters)
    plain.weight = nn.Parameter(weight.to(base.weight.dtype), requires_grad=False)
    return plain
