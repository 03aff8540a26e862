"""The branches of classifier-free guidance: which there are, what each is told, and how they are computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eve_cli.diffusion.guidance import combine, two_scale_weights
from eve_cli.diffusion.samplers import Denoise
from eve_cli.models.inference.run import Run
from eve_cli.models.parts import UNKNOWN_TASK

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor

ALIKE = ("source", "first")
"""Conditions that all branches share which have them."""


class Branches:
    """The branches that have weight: everything; the source without texts and task; nothing.

    They are computed in one batch where the editor has them `together`, else in turn: fewer calls, or less memory.
    """

    def __init__(self, editor: Editor, guidance_scale: float | None, source_cfg: float | None) -> None:
        settings = editor.settings
        none, source, full = two_scale_weights(
            settings.guidance_scale if guidance_scale is None else guidance_scale,
            settings.image_guidance_scale if source_cfg is None else source_cfg,
        )
        kinds = [(full, True, True), (source, False, True), (none, False, False)]
        self.editor = editor
        self.kinds = [kind for kind in kinds if kind[0] != 0]
        self.weights = [weight for weight, _, _ in self.kinds]

    def text(self, text: Tensor) -> list[Tensor]:
        return self._told(text, self.editor.embed([""]))

    def instruction(self, instruction: Tensor) -> list[Tensor]:
        """For the branches that see the source; the others run without the edit adapter."""
        told = self._told(instruction, self.editor.embed_instruction([""]))
        return [value for value, (_, _, shown) in zip(told, self.kinds, strict=True) if shown]

    def task(self, task: Tensor | None) -> list[Tensor] | None:
        if task is None:
            return None
        told = self._told(task, torch.tensor([UNKNOWN_TASK], device=task.device))
        return [value for value, (_, _, shown) in zip(told, self.kinds, strict=True) if shown]

    def shown(self, source: Tensor | None) -> list[Tensor] | None:
        """For the branches that see the source, which come first."""
        return None if source is None else [source for _, _, shown in self.kinds if shown]

    def every(self, value: Tensor | None) -> list[Tensor] | None:
        return None if value is None else [value for _ in self.kinds]

    def _told(self, value: Tensor, blank: Tensor) -> list[Tensor]:
        blank = blank.to(value.dtype).expand_as(value)
        return [value if told else blank for _, told, _ in self.kinds]

    def guide(self, clean: Callable[..., Tensor], run: Run, **given: list[Tensor] | None) -> Denoise:
        """The weighted sum of `clean(noisy, t, **conditions)` over the branches; `given` holds their conditions."""
        count = len(self.kinds)
        first = given.get("first")
        if self.editor.together and (first is None or len(first) == count):
            calls = [{n: rows and (rows[0] if n in ALIKE else torch.cat(rows)) for n, rows in given.items()}]
            sizes = (count, sum(shown for _, _, shown in self.kinds))
        else:
            calls = [
                {name: rows[i] if rows and i < len(rows) else None for name, rows in given.items()}
                for i in range(count)
            ]
            sizes = (1, 1)
        # the first branch is told everything, if it has any weight
        alone = {name: rows and rows[0] for name, rows in given.items()} if self.kinds[0][1] else None

        def denoise(noisy: Tensor, t: Tensor) -> Tensor:
            run.step += 1
            t = t.expand(len(noisy))
            if alone is not None and run.guided is not None and run.step > run.guided:
                run.branch, run.branches, run.shown = 0, 1, 1
                return clean(noisy, t, run=run, **alone)
            run.branches, run.shown = sizes
            made = []
            for run.branch, conditions in enumerate(calls):
                made += clean(noisy, t, run=run, **conditions).chunk(run.branches)
            return combine(self.weights, made)

        return denoise
