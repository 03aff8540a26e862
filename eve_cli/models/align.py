"""Low-rank layers over the student's backbone: what Factorized Diffusion Distillation trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from diffusers import UNetMotionModel
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

ADAPTER = "align"
Where = Literal["attention", "attention+mlp"]

# The motion layers live under `motion_modules`, so these names are the backbone's alone.
_TARGETS: dict[Where, str] = {
    "attention": r".*\battentions\.\d+\..*\.(to_q|to_k|to_v|to_out\.0)",
    "attention+mlp": r".*\battentions\.\d+\..*\.(to_q|to_k|to_v|to_out\.0|ff\.net\.0\.proj|ff\.net\.2)",
}


def add(student: UNetMotionModel, rank: int, where: Where = "attention") -> list[nn.Parameter]:
    """Puts fresh low-rank layers, which change nothing yet, into the student; returns their parameters.

    Alpha equals the rank, so the scale is one and readers that lose peft's metadata are still right.
    """
    student.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=_TARGETS[where]), ADAPTER)
    return parameters(student)


def attach(student: UNetMotionModel, weights: Mapping[str, Tensor]) -> None:
    """Puts trained low-rank layers into the student, frozen."""
    names = sorted(name.removesuffix(".lora_A.weight") for name in weights if name.endswith(".lora_A.weight"))
    rank = weights[f"{names[0]}.lora_A.weight"].shape[0]
    student.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=names), ADAPTER)
    outcome = set_peft_model_state_dict(student, dict(weights), adapter_name=ADAPTER)
    if outcome.unexpected_keys:
        raise ValueError(f"Alignment weights that fit no layer of the backbone: {outcome.unexpected_keys[:3]}.")
    for parameter in parameters(student):
        parameter.requires_grad_(False)


def parameters(student: UNetMotionModel) -> list[nn.Parameter]:
    """The parameters of the low-rank layers."""
    return [parameter for name, parameter in student.named_parameters() if f".{ADAPTER}." in name]


def weights(student: UNetMotionModel) -> dict[str, Tensor]:
    """The low-rank layers' weights by peft's names, as `Parts.align` holds them."""
    return get_peft_model_state_dict(student, adapter_name=ADAPTER)
