"""A moving average of weights in 32-bit floats."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from eve_cli.training.checkpoint import load_modules, module_tensors


class Average:
    """Exponential moving average of all tensors of some modules; integer buffers are copied."""

    def __init__(self, modules: Mapping[str, nn.Module], decay: float) -> None:
        self.modules = modules
        self.decay = decay
        self.tensors = {k: _wide(v.detach()).clone() for k, v in module_tensors(modules).items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves the average towards the weights, faster in early steps, so that it forgets the initial ones."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        averages, weights = [], []
        for key, value in module_tensors(self.modules).items():
            if value.is_floating_point():
                averages.append(self.tensors[key])
                weights.append(_wide(value))
            else:
                self.tensors[key].copy_(value)
        torch._foreach_lerp_(averages, weights, share)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Loads saved averages."""
        for key, value in tensors.items():
            self.tensors[key].copy_(value)

    def apply(self) -> None:
        """Loads the averaged weights into the modules."""
        load_modules(self.modules, self.tensors)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the modules have the averaged weights."""
        before = {k: v.detach().clone() for k, v in module_tensors(self.modules).items()}
        self.apply()
        try:
            yield
        finally:
            load_modules(self.modules, before)


def _wide(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value
