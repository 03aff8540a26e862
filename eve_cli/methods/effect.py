"""What an instruction does: the frames that the edit adapter sees in one step with it, and without.

Both are predictions of the clean frame from pure noise, as DiffEdit (Couairon et al. 2022) compares two predictions
of the noise. What the model gets wrong in both cancels out, so a thing that it merely copies badly is not taken for
one that the instruction changes (`detail.plan`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eve_cli.methods.base import Clip, Guidance, in_blocks
from eve_cli.models.parts import task_labels

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


def effect(editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
    """Without and with the instruction: (2, frames, 3, height, width) in [0, 1] at the model's size.

    Frames are independent of each other here, so they are computed in blocks, and each process computes its own.
    """
    parts, gathered = in_blocks(editor, clip, guidance)
    blocks: list[Tensor] = []
    for part in parts:
        blocks.append(_means(editor, part, guidance))
    return gathered(torch.cat(blocks, 1))


def _means(editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
    """Predictions from pure noise in one step, without and with the instruction in one batch."""
    schedule, settings = editor.image_schedule, (guidance.idle(), guidance)
    noise = clip.noise(guidance.seed)
    t = schedule.trailing(guidance.steps)[:1].to(editor.device).expand(2 * len(noise))
    noisy = schedule.add_noise(clip.source, noise, t[: len(noise)])
    conditions = [each.condition(editor) for each in settings]
    clean = editor.clean_edit(
        torch.cat([noisy] * 2),
        t,
        torch.cat([condition.text for condition in conditions]),
        torch.cat([condition.instruction for condition in conditions]),
        torch.cat([clip.control_image] * 2),
        task_labels([each.task for each in settings]).to(editor.device).repeat_interleave(len(noise)),
        with_lora=True,
    )
    return editor.decode(clean).unflatten(0, (2, -1))
