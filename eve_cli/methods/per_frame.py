"""Every frame edited as a picture: the baseline without a video model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from eve_cli.diffusion.samplers import ddim
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.options import PerFrameOptions

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


class PerFrame:
    """The edit adapter alone, frame by frame."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The edited latents; `shared_noise` starts every frame from frame 0's noise."""
        frames = len(clip.source)
        condition = guidance.condition(editor)
        denoise = editor.guided_edit(
            condition.text,
            condition.instruction,
            clip.control_image,
            guidance.labels(editor, frames),
            guidance_scale=guidance.guidance_scale,
            image_guidance_scale=guidance.image_guidance_scale,
            with_lora=True,
        )
        shared = guidance.options_as(PerFrameOptions).shared_noise
        start = replace(clip, source=clip.source[:1], indices=range(1)) if shared else clip
        noise = start.noise(guidance.seed).expand_as(clip.source)
        schedule = editor.image_schedule
        return ddim(denoise, schedule, noise, schedule.trailing(guidance.steps), progress=clip.progress)
