"""What an instruction does: the frames that the edit adapter sees in one step with it, and without.

Both are predictions of the clean frame from pure noise, as DiffEdit (Couairon et al. 2022) compares two predictions
of the noise. What the model gets wrong in both cancels out, so a thing that it merely copies badly is not taken for
one that the instruction changes (`detail.plan`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.particles import changes_most, particles
from eve_cli.models.inference.sampling import ProcessGroup
from eve_cli.models.parts import task_labels

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


def effect(editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
    """Without and with the instruction: (2, frames, 3, height, width) in [0, 1] at the model's size.

    Where the model has `particle_steps` and most of the clip changes, a third row is what falls (`particles`).
    Frames are independent of each other here, so they are computed in blocks, and each process computes its own.
    """
    result = _in_blocks(_means, editor, clip, guidance)
    if editor.settings.particle_steps and (result.is_meta or changes_most(*result)):
        result = torch.cat([result, _in_blocks(particles, editor, clip, guidance)])
    return result


def _in_blocks(
    compute: Callable[[Editor, Clip, Guidance], Tensor], editor: Editor, clip: Clip, guidance: Guidance
) -> Tensor:
    """What `compute` gives of all frames, (rows, frames, ...), in blocks of the model's frames."""
    group = ProcessGroup.of(len(clip.source), 1) if guidance.shared else None
    frames = range(len(clip.source)) if group is None else group.own
    step = editor.settings.frames
    starts = range(frames.start, frames.stop, step)
    blocks = [compute(editor, clip.part(start, min(start + step, frames.stop)), guidance) for start in starts]
    result = torch.cat(blocks, 1)
    return result if group is None else group.gathered(result)


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
