"""A pool of prepared samples, replaced chunk by chunk, so that drawing and encoding take a small share of the time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from eve_cli.runtime import distributed
from eve_cli.training.recipe import step_seed

Rows = dict[str, Tensor]
FILL = 6  # how many times faster a pool grows at first than its chunks are replaced


def pool_seed(seed: int, number: int, stream: int) -> int:
    """The seed of a chunk; every process has a pool of its own."""
    return step_seed(seed, distributed.rank(), number, stream)


class Pool:
    """Up to ``chunks`` chunks ``draw(number)``; every ``every`` steps the next number replaces the oldest.

    It starts with one chunk, so that training starts at once, and grows over the first steps. The samples of a step
    are a pure function of the step, so a resumed run gets those of an uninterrupted one. A chunk is a dict of tensors
    with the same first dimension; floating ones are kept in half precision.
    """

    def __init__(self, draw: Callable[[int], Rows], chunks: int = 12, every: int = 150) -> None:
        self.draw, self.chunks, self.every = draw, chunks, every
        self.loaded: dict[int, Rows] = {}

    def rows(self, step: int, count: int, generator: torch.Generator) -> Rows:
        """``count`` rows for a step, from all chunks of that step."""
        newest = step // self.every + min(self.chunks - 1, FILL * step // self.every)
        current = range(max(0, newest - self.chunks + 1), newest + 1)
        for number in [n for n in self.loaded if n not in current]:
            del self.loaded[number]
        for number in current:
            if number not in self.loaded:
                drawn = self.draw(number)
                self.loaded[number] = {k: v.half() if v.is_floating_point() else v for k, v in drawn.items()}
        chunks = [self.loaded[n] for n in current]
        size = len(next(iter(chunks[0].values())))
        chunk = torch.randint(len(chunks), (count,), generator=generator).tolist()
        place = torch.randint(size, (count,), generator=generator).tolist()
        table = {k: torch.stack([chunks[c][k][i] for c, i in zip(chunk, place, strict=True)]) for k in chunks[0]}
        return {k: v.float() if v.is_floating_point() else v for k, v in table.items()}
