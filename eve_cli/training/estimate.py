"""Memory and work of a training step, counted by running it on the meta device, with shapes and no content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from eve_cli.models.parts import Parts
from eve_cli.runtime.meter import META, Meter, attention
from eve_cli.training.recipe import Recipe, to_device
from eve_cli.training.settings import LoopSettings

ON_CPU = ("without_first", "end")  # parts of a batch that decide the control flow of a step
ADAM = 12  # bytes per parameter: its gradient and two moments
EMA = 4


@dataclass(frozen=True)
class Estimate:
    """The cost of one step of the optimizer, in one process.

    `flops` are those of matrix products and convolutions, forward and backward, a multiply-add being two; bytes are of
    32-bit numbers. An allocator and its libraries take 2-5 GB more on a GPU; mixed precision takes less.
    """

    flops: float
    weights: int
    """Bytes of all parts."""
    activations: int
    """Peak bytes beside them during a step."""
    trained: int
    """Trained parameters."""
    optimizer: int
    """Bytes of their gradients, moments and moving average."""

    @property
    def bytes(self) -> int:
        """Peak bytes of a step."""
        return self.weights + self.activations + self.optimizer

    def lines(self) -> list[tuple[str, str]]:
        """Labels and texts to print."""
        return [
            ("trains", f"{self.trained / 1e6:.2f} M parameters"),
            (
                "memory",
                f"about {self.bytes / 2**30:.1f} GiB: weights {self.weights / 2**30:.1f}, activations "
                f"{self.activations / 2**30:.1f}, optimizer {self.optimizer / 2**30:.1f} "
                "(an estimate: tensors of a step on the meta device, in fp32, without the allocator's own)",
            ),
            (
                "work",
                f"about {self.flops / 1e12:.3g} TFLOP a step, forward and backward "
                "(an estimate: matrix products and convolutions of a step on the meta device)",
            ),
        ]


def of_step(recipe: Recipe, parts: Parts, settings: LoopSettings) -> Estimate:
    """The cost of a step of a recipe whose parts are on the meta device (`bundle.meta_copy`), for its first batch."""
    batch = recipe.batch(0, 0)
    meta_copy: dict[str, Any] = {k: v if k in ON_CPU else to_device(v, META) for k, v in batch.items()}
    meter = Meter()
    with torch.enable_grad(), torch.device(META), meter, attention(meter):
        losses = recipe.step(meta_copy)
        total = sum(value for name, value in losses.items() if not name.startswith("_"))
        assert isinstance(total, torch.Tensor)
        total.backward()
    trained = sum(p.numel() for p in recipe.parameters())
    weights = {id(p): p.numel() * p.element_size() for _, module in parts.modules() for p in module.parameters()}
    return Estimate(
        flops=meter.flops * settings.accumulate,
        weights=sum(weights.values()),
        activations=meter.peak,
        trained=trained,
        optimizer=trained * (ADAM + (EMA if settings.ema else 0)),
    )
