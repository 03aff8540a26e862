"""The student's own low-rank layers: what Factorized Diffusion Distillation trains."""

from __future__ import annotations

from collections.abc import Mapping

from diffusers import UNetMotionModel
from torch import Tensor, nn

from eve_cli.models import low_rank
from eve_cli.models.low_rank import Where

ADAPTER = "align"


def add(student: UNetMotionModel, rank: int, where: Where = "attention") -> list[nn.Parameter]:
    """Puts fresh low-rank layers, which change nothing yet, into the student; returns their parameters."""
    return low_rank.add(student, ADAPTER, rank, where)


def attach(student: UNetMotionModel, weights: Mapping[str, Tensor]) -> None:
    """Puts trained low-rank layers into the student, frozen."""
    low_rank.attach(student, ADAPTER, weights)


def parameters(student: UNetMotionModel) -> list[nn.Parameter]:
    """The parameters of the low-rank layers."""
    return low_rank.parameters(student, ADAPTER)


def weights(student: UNetMotionModel) -> dict[str, Tensor]:
    """The low-rank layers' weights by peft's names, as `Parts.align` holds them."""
    return low_rank.weights(student, ADAPTER)
