"""Fairy (Wu et al. 2023): every frame edited as a picture that attends to the same few anchor frames."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eve_cli.diffusion.samplers import ddim
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.options import FairyOptions
from eve_cli.models import attention

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


class Fairy:
    """The edit adapter alone, with the attention of all frames widened to the anchors; one noise for all."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The edited latents; the anchors are those of the whole shot, so windows need not hold to each other."""
        shot = clip.source if clip.whole_shot().is_meta else clip.whole_shot()  # an estimate has no shot
        count = min(guidance.options_as(FairyOptions).anchors, len(shot))
        anchors = shot[torch.linspace(0, len(shot) - 1, count).round().long().to(shot.device)]
        control_images = anchors if editor.settings.control_image == "latents" else editor.decode(anchors)
        rows, condition = count + len(clip.source), guidance.condition(editor)
        denoise = editor.guided_edit(
            condition.text,
            condition.instruction,
            torch.cat([control_images, clip.control_image]),
            guidance.labels(editor, rows),
            guidance_scale=guidance.guidance_scale,
            image_guidance_scale=guidance.image_guidance_scale,
            with_lora=True,
        )
        noise = Clip(clip.source[:1], clip.control_image[:1], range(1), clip.reference).noise(guidance.seed)
        schedule = editor.image_schedule
        with ExitStack() as stack:
            for network in (editor.lora_unet, editor.parts.edit):
                if network is not None:
                    names = attention.named(network, attention.SELF)
                    stack.enter_context(attention.attending(network, dict.fromkeys(names, anchored(count, rows))))
            edited = ddim(
                denoise,
                schedule,
                noise.repeat(rows, 1, 1, 1),
                schedule.trailing(guidance.steps),
                progress=clip.progress,
            )
        return edited[count:]


def anchored(anchors: int, rows: int) -> attention.Attend:
    """Attention to a frame's own places and those of the anchors, the first of each `rows` (equation 4)."""

    def widened(part: Tensor) -> Tensor:
        shared = part.unflatten(0, (-1, rows))[:, :anchors].transpose(1, 2).flatten(2, 3)
        return torch.cat([part, shared.repeat_interleave(rows, 0)], 2)

    return lambda query, key, value: attention.plain(query, widened(key), widened(value))
