"""The edit adapter as a teacher, which scores whether each frame follows the instruction."""

from __future__ import annotations

from torch import Tensor

from eve_cli.alignment.context import Context, per_frame
from eve_cli.alignment.discriminators import FrameDiscriminator
from eve_cli.alignment.features import Features
from eve_cli.diffusion.samplers import Denoise, ddim
from eve_cli.diffusion.schedule import Schedule
from eve_cli.models.editor import Editor


class EditTeacher:
    """Backbone and edit adapter on single frames, with the caption and the task label, which users do not give."""

    name = "edit"
    network = "backbone"
    reads_source = True

    def __init__(self, editor: Editor, guidance: float | None = None) -> None:
        self.editor = editor
        self.guidance = editor.settings.picture_guidance_scale if guidance is None else guidance

    @property
    def schedule(self) -> Schedule:
        return self.editor.image_schedule

    def view(self, clips: Tensor) -> Tensor:
        return clips.flatten(0, 1)

    def clean(self, noisy: Tensor, t: Tensor, context: Context) -> Tensor:
        return self._denoiser(context, context.control_image.flatten(0, 1), context.frames)(noisy, t)

    def sample(self, noise: Tensor, context: Context, steps: int) -> Tensor:
        frames = context.discriminator_frames.shape[1]
        denoise = self._denoiser(context, context.pick_frames(context.control_image), frames)
        return ddim(denoise, self.schedule, context.pick_frames(noise), self.schedule.trailing(steps))

    def edit_first(self, noise: Tensor, context: Context, steps: int) -> Tensor:
        """The edited first frames (b, c, h, w) from noise of that shape."""
        denoise = self._denoiser(context, context.control_image[:, 0], 1)
        return ddim(denoise, self.schedule, noise, self.schedule.trailing(steps))

    def discriminator_view(self, clips: Tensor, context: Context) -> Tensor:
        return context.pick_frames(clips)

    def discriminator_inputs(self, view: Tensor, context: Context, features: Features) -> tuple[list[Tensor], tuple]:
        text = per_frame(context.instruction.mean(1), context.discriminator_frames.shape[1])
        return features(view), (features(context.pick_frames(context.source)), text)

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
