"""A discriminator with its optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from eve_cli.alignment import losses
from eve_cli.alignment.settings import GeneratorLoss
from eve_cli.training.checkpoint import load_optimizer, optimizer_tensors

Average = Callable[[Sequence[nn.Parameter]], None]


class DiscriminatorTrainer:
    """Trains a discriminator on features of real samples and of the student's, and gives the student's loss.

    `average` replaces gradients by their mean over the processes; every `accumulate` calls make one optimizer step.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        lr: float,
        *,
        r1_weight: float = 1e-5,
        generator_loss: GeneratorLoss = "linear",
        accumulate: int = 1,
        average: Average = lambda parameters: None,
    ) -> None:
        self.discriminator = discriminator.requires_grad_(True)
        self.parameters = list(discriminator.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr, betas=(0.0, 0.99), weight_decay=0.0)
        self.r1_weight, self.accumulate, self.average = r1_weight, accumulate, average
        self.generator_kind: GeneratorLoss = generator_loss
        self.calls = 0

    def train_step(self, real: Sequence[Tensor], fake: Sequence[Tensor], conditions: tuple) -> dict[str, Tensor]:
        """One step on features of real and fake samples; returns `loss` and `accuracy` (0.5 is chance)."""
        with _full_precision(real[0]):
            features = [level.detach().requires_grad_(bool(self.r1_weight)) for level in real]
            real_logits = self.discriminator(features, *conditions)
            fake_logits = self.discriminator([level.detach() for level in fake], *conditions)
            loss = losses.hinge(real_logits, fake_logits)
            total = loss + self.r1_weight * losses.r1_penalty(real_logits, features) if self.r1_weight else loss
            (total / self.accumulate).backward()
        self.calls += 1
        if self.calls % self.accumulate == 0:
            self.average(self.parameters)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        accuracy = ((real_logits.mean(1) > 0).float().mean() + (fake_logits.mean(1) < 0).float().mean()) / 2
        return {"loss": loss.detach(), "accuracy": accuracy}

    def generator_loss(self, fake: Sequence[Tensor], conditions: tuple) -> Tensor:
        """The student's loss; its gradient reaches the features and not the discriminator."""
        self.discriminator.requires_grad_(False)
        with _full_precision(fake[0]):
            loss = losses.generator(self.discriminator(list(fake), *conditions), self.generator_kind)
        self.discriminator.requires_grad_(True)
        return loss

    def state(self) -> dict[str, Tensor]:
        """Weights, buffers and the optimizer's moments, by name."""
        weights = {f"weights/{k}": v.detach() for k, v in self.discriminator.state_dict().items()}
        return weights | {f"optimizer/{k}": v for k, v in optimizer_tensors(self.optimizer).items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Loads what `state` returned."""
        kinds: dict[str, dict[str, Tensor]] = {"weights": {}, "optimizer": {}}
        for name, value in state.items():
            kind, key = name.split("/", 1)
            kinds[kind][key] = value
        self.discriminator.load_state_dict(kinds["weights"])
        load_optimizer(self.optimizer, kinds["optimizer"])


def _full_precision(like: Tensor) -> AbstractContextManager[Any]:
    """No mixed precision; the meta device has none."""
    return nullcontext() if like.is_meta else torch.autocast(like.device.type, enabled=False)
