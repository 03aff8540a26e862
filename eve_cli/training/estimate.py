"""What a step of a training takes, counted on the meta device: the step itself is done, with shapes and no content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from eve_cli.models.parts import Parts
from eve_cli.runtime.meter import META, Meter, attention
from eve_cli.training.recipe import Recipe, to_device
from eve_cli.training.settings import LoopSettings

ON_CPU = ("without_first", "end")  # of a batch: what decides how a step goes
ADAM = 12  # bytes for each number that learns: its gradient and two moments
EMA = 4


@dataclass(frozen=True)
class Estimate:
    """The cost of one step of the optimizer, in one process.

    `flops` are those of matrix products and convolutions, a multiply-add being two, with the way back; the bytes are of
    32-bit numbers. An allocator and its libraries take some 2-5 GB more on a GPU; mixed precision takes less.
    """

    flops: float
    weights: int
    """Bytes of all parts."""
    activations: int
    """The most bytes that live beside them during a step."""
    learned: int
    """Numbers that learn."""
    optimizer: int
    """Bytes of their gradients, moments and average."""

    @property
    def bytes(self) -> int:
        """All that a step needs at most."""
        return self.weights + self.activations + self.optimizer

    def lines(self) -> list[tuple[str, str]]:
        """Labels and texts for people."""
        return [
            ("learns", f"{self.learned / 1e6:.2f} M numbers"),
            (
                "memory",
                f"about {self.bytes / 2**30:.1f} GiB: weights {self.weights / 2**30:.1f}, activations "
                f"{self.activations / 2**30:.1f}, optimizer {self.optimizer / 2**30:.1f} "
                "(an estimate: tensors of a step on the meta device, in fp32, without the allocator's own)",
            ),
            (
                "work",
                f"about {self.flops / 1e12:.3g} TFLOP a step, there and back "
                "(an estimate: matrix products and convolutions of a step on the meta device)",
            ),
        ]


def of_step(recipe: Recipe, parts: Parts, settings: LoopSettings) -> Estimate:
    """The cost of a step of a recipe whose parts are on the meta device (`bundle.meta_copy`); the batch is drawn."""
    batch = recipe.batch(0, 0)
    meta_copy: dict[str, Any] = {k: v if k in ON_CPU else to_device(v, META) for k, v in batch.items()}
    meter = Meter()
    with torch.enable_grad(), torch.device(META), meter, attention(meter):
        losses = recipe.step(meta_copy)
        total = sum(value for name, value in losses.items() if not name.startswith("_"))
        assert isinstance(total, torch.Tensor)
        total.backward()
    learned = sum(p.numel() for p in recipe.parameters())
    weights = {id(p): p.numel() * p.element_size() for _, module in parts.modules() for p in module.parameters()}
    return Estimate(
        flops=meter.flops * settings.accumulate,
        weights=sum(weights.values()),
        activations=meter.peak,
        learned=learned,
        optimizer=learned * (ADAM + (EMA if settings.ema else 0)),
    )
