"""SDEdit (Meng et al. 2022): noise is added to the source, which is then denoised with the new caption."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from eve_cli.diffusion.samplers import ddim
from eve_cli.diffusion.schedule import Schedule
from eve_cli.diffusion.windows import hold_to
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.options import SDEditOptions

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


class SDEdit:
    """Backbone and video adapter, no edit adapter: the base line that needs no pairs."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The edited latents, from `strength` of the noise on; a single frame needs no video adapter."""
        schedule = editor.image_schedule if len(clip.source) == 1 else editor.schedule
        timesteps = self.timesteps(schedule, guidance)
        text = editor.embed([guidance.caption or guidance.instruction])
        if len(clip.source) == 1:
            denoise = editor.guided_image(text, guidance.guidance_scale)
            noisy = schedule.add_noise(clip.source, clip.noise(guidance.seed), timesteps[:1])
            return ddim(denoise, schedule, noisy, timesteps, progress=clip.progress)
        first = clip.reference[:1] if len(clip.reference) else None
        denoise = editor.guided_video(
            text, first, guidance_scale=guidance.guidance_scale, run=guidance.run(len(clip.source), keys=False)
        )
        source = clip.source[None]
        noisy = schedule.add_noise(source, clip.noise(guidance.seed)[None], timesteps[:1])
        correct = hold_to(clip.reference[None], len(timesteps)) if len(clip.reference) else None
        return ddim(denoise, schedule, noisy, timesteps, correct=correct, progress=clip.progress)[0]

    def timesteps(self, schedule: Schedule, guidance: Guidance) -> Tensor:
        """The last `strength` of the falling timesteps, at least one."""
        every = schedule.trailing(guidance.steps)
        return every[min(round(len(every) * (1 - guidance.options_as(SDEditOptions).strength)), len(every) - 1) :]
