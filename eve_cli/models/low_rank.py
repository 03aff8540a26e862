"""Low-rank layers (LoRA, Hu et al. 2022) over the backbone's attention, of an image or a video UNet.

A UNet may have several sets under different names: all are active, and only the last one added is trainable.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Literal

import torch
from diffusers import UNet2DConditionModel, UNetMotionModel
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

DOWN = ".lora_A.weight"
Unet = UNet2DConditionModel | UNetMotionModel
Where = Literal["attention", "attention+motion", "attention+mlp", "all"]

# The motion layers live under `motion_modules`, so all of these but the second name the backbone's alone.
_TARGETS: dict[Where, str] = {
    "attention": r".*\battentions\.\d+\..*\.(to_q|to_k|to_v|to_out\.0)",
    "attention+motion": r".*\b(attentions|motion_modules)\.\d+\..*\.(to_q|to_k|to_v|to_out\.0)",
    "attention+mlp": r".*\battentions\.\d+\..*\.(to_q|to_k|to_v|to_out\.0|ff\.net\.0\.proj|ff\.net\.2)",
    "all": r"(?!.*motion_modules).*\.(to_q|to_k|to_v|to_out\.0|net\.0\.proj|net\.2|proj_in|proj_out"
    r"|conv1|conv2|conv|conv_shortcut|time_emb_proj)",
}


def add(unet: Unet, name: str, rank: int, where: Where = "attention") -> list[nn.Parameter]:
    """Puts fresh low-rank layers, which change nothing yet, into a UNet; returns their parameters.

    Alpha equals the rank, so the scale is one and readers that lose peft's metadata are still right.
    """
    _inject(unet, name, rank, _TARGETS[where])
    return parameters(unet, name)


def attach(unet: Unet, name: str, weights: Mapping[str, Tensor]) -> None:
    """Puts trained low-rank layers into a UNet, frozen; ValueError if they fit none of its layers."""
    ranks = {key.removesuffix(DOWN): value.shape[0] for key, value in sorted(weights.items()) if key.endswith(DOWN)}
    if not ranks:
        raise ValueError(f"These are no low-rank weights: no name ends in {DOWN}.")
    _inject(unet, name, next(iter(ranks.values())), list(ranks), ranks)
    outcome = set_peft_model_state_dict(unet, dict(weights), adapter_name=name)
    if outcome.unexpected_keys:
        raise ValueError(f"Low-rank weights that fit no layer of the backbone: {outcome.unexpected_keys[:3]}.")
    for parameter in parameters(unet, name):
        parameter.requires_grad_(False)


def parameters(unet: Unet, name: str) -> list[nn.Parameter]:
    """The parameters of one set of low-rank layers."""
    return [parameter for key, parameter in unet.named_parameters() if f".{name}." in key]


def weights(unet: Unet, name: str) -> dict[str, Tensor]:
    """The weights of one set of low-rank layers by peft's names."""
    return get_peft_model_state_dict(unet, adapter_name=name)


def joined(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One set of low-rank weights that does what two do together, exactly; a layer's rank is the sum of theirs."""
    total = {}
    for name in {**first, **second}:
        both = [each[name] for each in (first, second) if name in each]
        total[name] = torch.cat(both, 0 if name.endswith(DOWN) else 1)
    return total


def scaled(weights: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The same low-rank weights, `scale` times as strong."""
    return {name: value if name.endswith(DOWN) else value * scale for name, value in weights.items()}


def _inject(unet: Unet, name: str, rank: int, layers: str | list[str], ranks: Mapping[str, int] | None = None) -> None:
    """`ranks` are those of single layers where they differ; alpha is the rank everywhere."""
    other = {layer: own for layer, own in (ranks or {}).items() if own != rank}
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=layers, rank_pattern=other, alpha_pattern=dict(other))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # several sets are meant
        unet.add_adapter(config, name)
    others = [other for other in unet.peft_config if other != name]
    if others:  # peft lets the newest act alone
        unet.set_adapter([*others, name])
        for other in others:
            for parameter in parameters(unet, other):
                parameter.requires_grad_(False)


class Layers(nn.Module):
    """One set of low-rank layers of a UNet as a module that shares their parameters, for training and saving."""

    def __init__(self, unet: Unet, name: str) -> None:
        super().__init__()
        for key, parameter in unet.named_parameters():
            if f".{name}." in key:
                self.register_parameter(key.replace(".", ":"), parameter)
