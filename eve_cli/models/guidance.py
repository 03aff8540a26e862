"""Classifier-free guidance over a denoiser: its branches, what each is conditioned on, and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from eve_cli.diffusion.guidance import combine, two_scale_weights
from eve_cli.diffusion.samplers import Denoise
from eve_cli.models.inference.sampling import Sampling

Value = TypeVar("Value")
ALIKE = ("source", "first")
"""Conditions that are the same in all branches that have them."""


@dataclass(frozen=True)
class Branch:
    """One evaluation of the network: its weight in the sum, and whether it is given the texts and the source."""

    weight: float
    texts: bool
    source: bool


def branches_of(guidance_scale: float, source_scale: float) -> list[Branch]:
    """The branches of nonzero weight: everything; the source without texts and task; nothing."""
    none, source, full = two_scale_weights(guidance_scale, source_scale)
    branches = (Branch(full, True, True), Branch(source, False, True), Branch(none, False, False))
    return [branch for branch in branches if branch.weight != 0]


def texts_of(branches: Sequence[Branch], value: Tensor, blank: Tensor) -> list[Tensor]:
    """The text condition, or task label, of each branch: `value`, or as many rows of `blank` (1, ...)."""
    blank = blank.to(value.dtype).expand_as(value)
    return [value if branch.texts else blank for branch in branches]


def guided(
    clean: Callable[..., Tensor],
    branches: Sequence[Branch],
    run: Sampling,
    *,
    in_one_batch: bool,
    **conditions: list[Tensor] | None,
) -> Denoise:
    """The weighted sum of `clean(noisy, t, run=run, **conditions)` over the branches.

    `conditions` hold a value for each of the first branches; the branches behind them go without. All branches are
    computed `in_one_batch`, or one after the other, which takes more calls and less memory.
    """
    count = len(branches)
    weights = [branch.weight for branch in branches]
    first = conditions.get("first")
    if in_one_batch and (first is None or len(first) == count):
        calls = [{name: _batch(name, rows) if rows else None for name, rows in conditions.items()}]
        sizes = (count, sum(branch.source for branch in branches))
    else:
        calls = [_of_branch(conditions, number) for number in range(count)]
        sizes = (1, 1)
    full = _of_branch(conditions, 0) if branches[0].texts else None

    def denoise(noisy: Tensor, t: Tensor) -> Tensor:
        run.step += 1
        t = t.expand(len(noisy))
        if full is not None and run.guided_steps is not None and run.step > run.guided_steps:
            run.branch, run.branches, run.source_branches = 0, 1, 1
            return clean(noisy, t, run=run, **full)
        run.branches, run.source_branches = sizes
        outputs: list[Tensor] = []
        for run.branch, call in enumerate(calls):
            outputs += clean(noisy, t, run=run, **call).chunk(run.branches)
        return combine(weights, outputs)

    return denoise


def _batch(name: str, rows: list[Tensor]) -> Tensor:
    return rows[0] if name in ALIKE else torch.cat(rows)


def _of_branch(conditions: dict[str, list[Tensor] | None], number: int) -> dict[str, Tensor | None]:
    return {name: rows[number] if rows and number < len(rows) else None for name, rows in conditions.items()}
