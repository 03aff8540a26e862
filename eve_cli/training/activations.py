"""Activation checkpointing: activations inside blocks are computed again in the backward pass, to save memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import nn
from torch.utils.checkpoint import checkpoint

BLOCKS = (ResnetBlock2D, Transformer2DModel, AnimateDiffTransformer3D)
"""diffusers' own `enable_gradient_checkpointing` leaves out the motion modules of the down and up blocks."""


def checkpoint_activations(*networks: nn.Module | None) -> None:
    """Keeps only the inputs of the blocks of some networks during a training step; results do not change."""
    for network in networks:
        for module in network.modules() if network is not None else ():
            if isinstance(module, BLOCKS):
                module.forward = partial(_checkpointed, module.forward)


def _checkpointed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
