"""What an instruction does: the frames that the edit adapter sees in one step with it, and without.

Both are predictions of the clean frame from pure noise, as DiffEdit (Couairon et al. 2022) compares two predictions
of the noise. What the model gets wrong in both cancels out, so a thing that it merely copies badly is not taken for
one that was asked to change (`detail.plan`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eve_cli.editing.contract import Clip, Guidance

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


def effect(editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
    """Without and with the instruction: (2, frames, 3, height, width) in [0, 1] at the model's size."""
    frames = len(clip.source)
    start = editor.image_schedule.trailing(guidance.steps)[:1].to(editor.device).expand(frames)
    noisy = editor.image_schedule.add_noise(clip.source, clip.noise(guidance.seed), start)
    seen = []
    for told in (guidance.idle(), guidance):
        condition, labels = told.condition(editor), told.labels(editor, frames)
        words, order = condition.text, condition.instruction
        clean = editor.clean_edit(noisy, start, words, order, clip.hint, labels, styled=True)
        seen.append(editor.decode(clean))
    return torch.stack(seen)
