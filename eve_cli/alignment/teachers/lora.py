"""A LoRA for a subject or a style as a teacher, which scores whether frames show it."""

from __future__ import annotations

from torch import Tensor

from eve_cli.alignment.context import Context, per_frame
from eve_cli.alignment.discriminators import ClipDiscriminator
from eve_cli.alignment.features import Features
from eve_cli.diffusion.samplers import ddim
from eve_cli.diffusion.schedule import Schedule
from eve_cli.models.editor import Editor


class LoraTeacher:
    """Backbone and LoRA on single frames, from the caption only (EVE, section 4.4). The editor must have the LoRA."""

    name = "lora"
    network = "lora_unet"
    reads_source = False

    def __init__(self, editor: Editor, guidance: float | None = None) -> None:
        self.editor, self.guidance = editor, guidance

    @property
    def schedule(self) -> Schedule:
        return self.editor.image_schedule

    def view(self, clips: Tensor) -> Tensor:
        return clips.flatten(0, 1)

    def clean(self, noisy: Tensor, t: Tensor, context: Context) -> Tensor:
        return self._guided(per_frame(context.caption, context.frames))(noisy, t)

    def sample(self, noise: Tensor, context: Context, steps: int) -> Tensor:
        return self.generate(noise.flatten(0, 1), per_frame(context.caption, context.frames), steps)

    def generate(self, noise: Tensor, text: Tensor, steps: int) -> Tensor:
        """Latents of pictures (n, c, h, w) for texts (n, tokens, dim)."""
        return ddim(self._guided(text), self.schedule, noise, self.schedule.trailing(steps))

    def discriminator_view(self, clips: Tensor, context: Context) -> Tensor:
        return clips.flatten(0, 1)

    def discriminator_inputs(self, view: Tensor, context: Context, features: Features) -> tuple[list[Tensor], tuple]:
        return features(view), (per_frame(context.caption.mean(1), context.frames), 1)

    def discriminator(self, features: Features, text: int) -> ClipDiscriminator:
        return ClipDiscriminator(features.dims, text)

    def _guided(self, text: Tensor):
        return self.editor.guided_image(text, self.guidance, with_lora=True)
