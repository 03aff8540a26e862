"""The image-editing adapter as a teacher: is each frame edited as asked?"""

from __future__ import annotations

from torch import Tensor

from eve_cli.alignment.context import Context, per_frame
from eve_cli.alignment.discriminators import FrameDiscriminator
from eve_cli.alignment.features import Features
from eve_cli.diffusion.samplers import Denoise, ddim
from eve_cli.diffusion.schedule import Schedule
from eve_cli.models.editor import Editor


class EditTeacher:
    """Backbone and edit adapter on lone frames, with the caption and the task label that people do not give."""

    name = "edit"
    tree = "backbone"
    sees_source = True

    def __init__(self, editor: Editor, guidance: float | None = None) -> None:
        self.editor, self.guidance = editor, guidance

    @property
    def schedule(self) -> Schedule:
        return self.editor.image_schedule

    def view(self, clips: Tensor) -> Tensor:
        return clips.flatten(0, 1)

    def clean(self, noisy: Tensor, t: Tensor, context: Context) -> Tensor:
        return self._denoiser(context, context.control_image.flatten(0, 1), context.frames)(noisy, t)

    def sample(self, noise: Tensor, context: Context, steps: int) -> Tensor:
        seen = context.looked.shape[1]
        denoise = self._denoiser(context, context.pick(context.control_image), seen)
        return ddim(denoise, self.schedule, context.pick(noise), self.schedule.trailing(steps))

    def first(self, noise: Tensor, context: Context, steps: int) -> Tensor:
        """The edited first frames (b, c, h, w) from noise of that shape."""
        denoise = self._denoiser(context, context.control_image[:, 0], 1)
        return ddim(denoise, self.schedule, noise, self.schedule.trailing(steps))

    def shown(self, clips: Tensor, context: Context) -> Tensor:
        return context.pick(clips)

    def evidence(self, shown: Tensor, context: Context, features: Features) -> tuple[list[Tensor], tuple]:
        words = per_frame(context.instruction.mean(1), context.looked.shape[1])
        return features(shown), (features(context.pick(context.source)), words)

    def discriminator(self, features: Features, text: int) -> FrameDiscriminator:
        return FrameDiscriminator(features.dims, text)

    def _denoiser(self, context: Context, source: Tensor, frames: int) -> Denoise:
        return self.editor.guided_edit(
            per_frame(context.text, frames),
            per_frame(context.instruction, frames),
            source,
            per_frame(context.task, frames),
            guidance_scale=self.guidance,
        )
