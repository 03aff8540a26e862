"""The branches of classifier-free guidance, computed in one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eve_cli.diffusion.guidance import combine
from eve_cli.diffusion.samplers import Denoise
from eve_cli.models.parts import UNKNOWN_TASK

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


class Branches:
    """The branches that have weight, side by side: full, source, none.

    Conditions are repeated over them, or blanked where a branch lacks them; the branch without a source is the last, so
    that it falls behind the rows of the source.
    """

    def __init__(self, editor: Editor, full: float, source: float, none: float) -> None:
        self.editor = editor
        self.full, self.source, self.none = (int(weight != 0) for weight in (full, source, none))
        self.weights = [weight for weight in (full, source, none) if weight != 0]

    def guide(self, clean: Denoise) -> Denoise:
        def denoise(noisy: Tensor, t: Tensor) -> Tensor:
            out = clean(self.every(noisy), self.every(t.expand(len(noisy))))
            return combine(self.weights, out.chunk(len(self.weights)))

        return denoise

    def every(self, value: Tensor) -> Tensor:
        return torch.cat([value] * len(self.weights))

    def shown(self, source: Tensor) -> Tensor:
        """For the two branches that see the source."""
        return torch.cat([source[:0]] + [source] * (self.full + self.source))

    def text(self, text: Tensor) -> Tensor:
        return self._blanked(text, self.editor.embed([""]))

    def instruction(self, instruction: Tensor) -> Tensor:
        return self._blanked(instruction, self.editor.embed_instruction([""]))

    def task(self, task: Tensor | None) -> Tensor | None:
        return None if task is None else self._blanked(task, torch.tensor([UNKNOWN_TASK], device=task.device))

    def _blanked(self, value: Tensor, blank: Tensor) -> Tensor:
        blank = blank.to(value.dtype).expand_as(value)
        return torch.cat([value] * self.full + [blank] * (self.source + self.none))
