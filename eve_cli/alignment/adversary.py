"""A discriminator and the optimizer that it owns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from eve_cli.alignment import losses
from eve_cli.alignment.losses import GeneratorLoss
from eve_cli.training.optimizers import load_optimizer, optimizer_tensors

Average = Callable[[Sequence[nn.Parameter]], None]


class Adversary:
    """Learns to tell real from made, and tells the student how real its work looks.

    `average` makes gradients the mean over the processes; an optimizer step is taken every `accumulate` calls.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        lr: float,
        *,
        r1: float = 1e-5,
        kind: GeneratorLoss = "raw",
        accumulate: int = 1,
        average: Average = lambda parameters: None,
    ) -> None:
        self.discriminator = discriminator.requires_grad_(True)
        self.parameters = list(discriminator.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr, betas=(0.0, 0.99), weight_decay=0.0)
        self.r1, self.accumulate, self.average = r1, accumulate, average
        self.kind: GeneratorLoss = kind
        self.calls = 0

    def learn(self, real: Sequence[Tensor], fake: Sequence[Tensor], more: tuple) -> dict[str, Tensor]:
        """One step on features of real and made samples; its loss, and how often it is right (0.5 is chance)."""
        with _in_full(real[0]):
            read = [level.detach().requires_grad_(bool(self.r1)) for level in real]
            seen_real = self.discriminator(read, *more)
            seen_fake = self.discriminator([level.detach() for level in fake], *more)
            loss = losses.hinge(seen_real, seen_fake)
            total = loss + self.r1 * losses.penalty(seen_real, read) if self.r1 else loss
            (total / self.accumulate).backward()
        self.calls += 1
        if self.calls % self.accumulate == 0:
            self.average(self.parameters)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        right = ((seen_real.mean(1) > 0).float().mean() + (seen_fake.mean(1) < 0).float().mean()) / 2
        return {"loss": loss.detach(), "right": right}

    def loss(self, fake: Sequence[Tensor], more: tuple) -> Tensor:
        """The student's loss; the gradient flows into the features, not into the discriminator."""
        self.discriminator.requires_grad_(False)
        with _in_full(fake[0]):
            out = losses.generator(self.discriminator(list(fake), *more), self.kind)
        self.discriminator.requires_grad_(True)
        return out

    def state(self) -> dict[str, Tensor]:
        """Weights, buffers and the optimizer's moments, by name."""
        weights = {f"weights/{k}": v.detach() for k, v in self.discriminator.state_dict().items()}
        return weights | {f"optimizer/{k}": v for k, v in optimizer_tensors(self.optimizer).items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Puts `state` back."""
        kinds: dict[str, dict[str, Tensor]] = {"weights": {}, "optimizer": {}}
        for name, value in state.items():
            kind, key = name.split("/", 1)
            kinds[kind][key] = value
        self.discriminator.load_state_dict(kinds["weights"])
        load_optimizer(self.optimizer, kinds["optimizer"])


def _in_full(like: Tensor) -> AbstractContextManager[Any]:
    """No mixed precision; there is none on the meta device."""
    return nullcontext() if like.is_meta else torch.autocast(like.device.type, enabled=False)
