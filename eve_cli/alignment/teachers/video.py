"""The video adapter as a teacher, which scores motion and consistency over time."""

from __future__ import annotations

from torch import Tensor

from eve_cli.alignment.context import Context
from eve_cli.alignment.discriminators import ClipDiscriminator
from eve_cli.alignment.features import Features
from eve_cli.diffusion.samplers import Denoise, ddim
from eve_cli.diffusion.schedule import Schedule
from eve_cli.models.editor import Editor


class VideoTeacher:
    """Backbone and video adapter on whole clips, from the caption and the edited first frame."""

    name = "video"
    network = "video"
    reads_source = False

    def __init__(self, editor: Editor, guidance: float | None = None) -> None:
        self.editor, self.guidance = editor, guidance

    @property
    def schedule(self) -> Schedule:
        return self.editor.schedule

    def view(self, clips: Tensor) -> Tensor:
        return clips

    def clean(self, noisy: Tensor, t: Tensor, context: Context) -> Tensor:
        return self._denoiser(context)(noisy, t)

    def sample(self, noise: Tensor, context: Context, steps: int) -> Tensor:
        return ddim(self._denoiser(context), self.schedule, noise, self.schedule.trailing(steps))

    def discriminator_view(self, clips: Tensor, context: Context) -> Tensor:
        return clips

    def discriminator_inputs(self, view: Tensor, context: Context, features: Features) -> tuple[list[Tensor], tuple]:
        return features(view.flatten(0, 1)), (context.caption.mean(1), view.shape[1])

    def discriminator(self, features: Features, text: int) -> ClipDiscriminator:
        return ClipDiscriminator(features.dims, text)

    def _denoiser(self, context: Context) -> Denoise:
        return self.editor.guided_video(context.caption, context.first, guidance_scale=self.guidance)
