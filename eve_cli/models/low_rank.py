"""Low-rank layers (LoRA, Hu et al. 2022) over the backbone's attention, in whichever tree holds it.

A tree may hold several sets of them under different names: all act, and only the one that was added last can learn.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Literal

import torch
from diffusers import UNet2DConditionModel, UNetMotionModel
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

Tree = UNet2DConditionModel | UNetMotionModel
Where = Literal["attention", "attention+motion", "attention+mlp", "all"]

# The motion layers live under `motion_modules`, so all of these but the second name the backbone's alone.
_TARGETS: dict[Where, str] = {
    "attention": r".*\battentions\.\d+\..*\.(to_q|to_k|to_v|to_out\.0)",
    "attention+motion": r".*\b(attentions|motion_modules)\.\d+\..*\.(to_q|to_k|to_v|to_out\.0)",
    "attention+mlp": r".*\battentions\.\d+\..*\.(to_q|to_k|to_v|to_out\.0|ff\.net\.0\.proj|ff\.net\.2)",
    "all": r"(?!.*motion_modules).*\.(to_q|to_k|to_v|to_out\.0|net\.0\.proj|net\.2|proj_in|proj_out"
    r"|conv1|conv2|conv|conv_shortcut|time_emb_proj)",
}


def add(tree: Tree, name: str, rank: int, where: Where = "attention") -> list[nn.Parameter]:
    """Puts fresh low-rank layers, which change nothing yet, into a tree; returns their parameters.

    Alpha equals the rank, so the scale is one and readers that lose peft's metadata are still right.
    """
    _inject(tree, name, rank, _TARGETS[where])
    return parameters(tree, name)


def attach(tree: Tree, name: str, weights: Mapping[str, Tensor]) -> None:
    """Puts trained low-rank layers into a tree, frozen; ValueError if they fit none of its layers."""
    layers = sorted(key.removesuffix(".lora_A.weight") for key in weights if key.endswith(".lora_A.weight"))
    if not layers:
        raise ValueError("These are no low-rank weights: no name ends in .lora_A.weight.")
    _inject(tree, name, weights[f"{layers[0]}.lora_A.weight"].shape[0], layers)
    outcome = set_peft_model_state_dict(tree, dict(weights), adapter_name=name)
    if outcome.unexpected_keys:
        raise ValueError(f"Low-rank weights that fit no layer of the backbone: {outcome.unexpected_keys[:3]}.")
    for parameter in parameters(tree, name):
        parameter.requires_grad_(False)


def parameters(tree: Tree, name: str) -> list[nn.Parameter]:
    """The parameters of one set of low-rank layers."""
    return [parameter for key, parameter in tree.named_parameters() if f".{name}." in key]


def weights(tree: Tree, name: str) -> dict[str, Tensor]:
    """The weights of one set of low-rank layers by peft's names."""
    return get_peft_model_state_dict(tree, adapter_name=name)


def joined(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One set of low-rank weights that does what two do together, exactly; its rank is the sum of theirs."""
    ranks = [next(v.shape[0] for n, v in each.items() if n.endswith(".lora_A.weight")) for each in (first, second)]
    made = {}
    for name in {**first, **second}:
        dim = 0 if name.endswith(".lora_A.weight") else 1
        parts = [each.get(name) for each in (first, second)]
        like = next(part for part in parts if part is not None)
        for i, rank in enumerate(ranks):
            if parts[i] is None:
                shape = list(like.shape)
                shape[dim] = rank
                parts[i] = like.new_zeros(shape)
        made[name] = torch.cat([part for part in parts if part is not None], dim)
    return made


def _inject(tree: Tree, name: str, rank: int, layers: str | list[str]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # several sets are meant
        tree.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=layers), name)
    others = [other for other in tree.peft_config if other != name]
    if others:  # peft lets the newest act alone
        tree.set_adapter([*others, name])
        for other in others:
            for parameter in parameters(tree, other):
                parameter.requires_grad_(False)


class Layers(nn.Module):
    """One set of low-rank layers of a tree as a module of its own, which owns nothing: to train and to keep it."""

    def __init__(self, tree: Tree, name: str) -> None:
        super().__init__()
        for key, parameter in tree.named_parameters():
            if f".{name}." in key:
                self.register_parameter(key.replace(".", ":"), parameter)
