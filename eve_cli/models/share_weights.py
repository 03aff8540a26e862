"""Several modules over one set of weights."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel, UNetMotionModel
from torch import nn

from eve_cli.models.adapters import ConditionedConv, VideoAdapter


def share_weights(model: nn.Module, *owners: nn.Module) -> nn.Module:
    """Gives `model` the owners' own Parameter and buffer objects, by name; KeyError for a name that no owner has.

    `model` may be on the meta device. Training or moving an owner's weights also changes the model, while modules put
    into the model (low-rank layers) stay out of its owners.
    """
    tables = {
        "_parameters": {n: p for owner in owners for n, p in owner.named_parameters(remove_duplicate=False)},
        "_buffers": {n: b for owner in owners for n, b in owner.named_buffers(remove_duplicate=False)},
    }
    for prefix, module in model.named_modules():
        for kind, table in tables.items():
            slots = getattr(module, kind)
            for leaf, value in slots.items():
                if value is not None:
                    slots[leaf] = table[f"{prefix}.{leaf}" if prefix else leaf]
    return model


def shared_unet(backbone: UNet2DConditionModel) -> UNet2DConditionModel:
    """A second backbone made of the first one's own weights; low-rank layers put into it stay out of the first."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(backbone.config)
    assert isinstance(unet, UNet2DConditionModel)
    share_weights(unet, backbone)
    return unet.eval()


def shared_motion_unet(backbone: UNet2DConditionModel, video: VideoAdapter) -> UNetMotionModel:
    """A diffusers UNetMotionModel made of the backbone's and the video adapter's own weights.

    Its input may carry the adapter's first-frame channels beside the latents: (b, c, f, h, w) or (b, 2c + 1, f, h, w).
    """
    with torch.device("meta"):
        unet = UNetMotionModel.from_unet2d(backbone, video.motion, load_weights=False)
    assert isinstance(unet, UNetMotionModel)
    share_weights(unet, backbone, video.motion)
    if video.first is not None:
        unet.conv_in = ConditionedConv(unet.conv_in, video.first)
    return unet.eval()
