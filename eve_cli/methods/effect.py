"""What an instruction does: the frames that the edit adapter sees in one step with it, and without.

Both are predictions of the clean frame from pure noise, as DiffEdit (Couairon et al. 2022) compares two predictions
of the noise. What the model gets wrong in both cancels out, so a thing that it merely copies badly is not taken for
one that was asked to change (`detail.plan`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eve_cli.methods.base import Clip, Guidance
from eve_cli.models.inference.process_group import Team
from eve_cli.models.parts import task_labels

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


def effect(editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
    """Without and with the instruction: (2, frames, 3, height, width) in [0, 1] at the model's size.

    Frames know nothing of each other here, so they go in blocks, and each process does its own.
    """
    team = Team.of(len(clip.source), 1) if guidance.shared else None
    frames = range(len(clip.source)) if team is None else team.own
    starts, step = range(frames.start, frames.stop, editor.settings.frames), editor.settings.frames
    seen = torch.cat([_seen(editor, clip, guidance, slice(i, min(i + step, frames.stop))) for i in starts], 1)
    return seen if team is None else team.gathered(seen)


def _seen(editor: Editor, clip: Clip, guidance: Guidance, part: slice) -> Tensor:
    """The same of some frames, both at once."""
    schedule, both = editor.image_schedule, (guidance.idle(), guidance)
    noise = clip.noise(guidance.seed)[part]
    t = schedule.trailing(guidance.steps)[:1].to(editor.device).expand(2 * len(noise))
    noisy = schedule.add_noise(clip.source[part], noise, t[: len(noise)])
    conditions = [told.condition(editor) for told in both]
    clean = editor.clean_edit(
        torch.cat([noisy] * 2),
        t,
        torch.cat([condition.text for condition in conditions]),
        torch.cat([condition.instruction for condition in conditions]),
        torch.cat([clip.control_image[part]] * 2),
        task_labels([told.task for told in both]).to(editor.device).repeat_interleave(len(noise)),
        with_lora=True,
    )
    return editor.decode(clean).unflatten(0, (2, -1))
