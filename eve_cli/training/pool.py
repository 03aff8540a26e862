"""A pool of ready samples, renewed piece by piece, so that drawing and encoding cost a small share of training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Rows = dict[str, Tensor]
FILL = 6  # how many times quicker a pool grows at first than it is renewed


class Pool:
    """Up to ``chunks`` pieces of ``draw(number)``; every ``every`` steps the oldest gives way to the next number.

    It starts with one piece, so that training starts at once, and fills up over the first steps.

    What a step sees is a pure function of the step, so a resumed run sees what an unbroken one does. A piece is a dict
    of tensors with the same first dimension; floating ones are kept in half precision.
    """

    def __init__(self, draw: Callable[[int], Rows], chunks: int = 12, every: int = 150) -> None:
        self.draw, self.chunks, self.every = draw, chunks, every
        self.held: dict[int, Rows] = {}

    def rows(self, step: int, count: int, generator: torch.Generator) -> Rows:
        """``count`` rows for a step, from all the pieces held at it."""
        newest = step // self.every + min(self.chunks - 1, FILL * step // self.every)
        wanted = range(max(0, newest - self.chunks + 1), newest + 1)
        for number in [n for n in self.held if n not in wanted]:
            del self.held[number]
        for number in wanted:
            if number not in self.held:
                drawn = self.draw(number)
                self.held[number] = {k: v.half() if v.is_floating_point() else v for k, v in drawn.items()}
        parts = [self.held[n] for n in wanted]
        size = len(next(iter(parts[0].values())))
        piece = torch.randint(len(parts), (count,), generator=generator).tolist()
        place = torch.randint(size, (count,), generator=generator).tolist()
        table = {k: torch.stack([parts[p][k][i] for p, i in zip(piece, place, strict=True)]) for k in parts[0]}
        return {k: v.float() if v.is_floating_point() else v for k, v in table.items()}
