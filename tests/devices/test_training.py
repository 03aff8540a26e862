"""Every recipe's step on a simulated GPU, whichever it is, in full and in half precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from eve_cli.models.parts import Parts
from eve_cli.registry import pick
from eve_cli.training.recipe import Movable, Recipe, to_device
from eve_cli.training.recipes import RECIPES
from tests.devices.simulated import DEVICES, gpus
from tests.tiny import tiny_parts

PRECISIONS = (None, torch.bfloat16)


def moved(recipe: Recipe, device: torch.device) -> Recipe:
    """The recipe on a device, as the loop moves it."""
    for module in recipe.modules.values():
        module.to(device)
    if isinstance(recipe, Movable):
        recipe.to(device)
    return recipe


def check_step(recipe: Recipe, device: torch.device, precision: torch.dtype | None) -> None:
    """Runs a step forward and backward; every trained weight that gets a gradient gets it on the device."""
    batch = to_device(recipe.batch(0, 0), device)
    with torch.autocast("cuda", precision or torch.bfloat16, enabled=precision is not None):
        losses = recipe.step(batch)
    total = torch.stack([value.float() for name, value in losses.items() if not name.startswith("_")]).sum()
    total.backward()
    gradients = [p.grad for p in recipe.parameters() if p.grad is not None]
    assert gradients and {str(g.device) for g in gradients} == {str(device)}


def recipe_of(part: str, parts: Parts, **options: Any) -> Recipe:
    return pick(RECIPES, part, "part")(parts, 2, **options)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("part", [part for part in RECIPES if part != "lora"])
def test_a_step_stays_on_its_device(part: str, name: str, precision: torch.dtype | None) -> None:
    device = torch.device(name)
    with gpus(name):
        check_step(moved(recipe_of(part, tiny_parts()), device), device, precision)
