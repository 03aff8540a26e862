"""The protocol of a teacher."""

from __future__ import annotations

from typing import Literal, Protocol

from torch import Tensor, nn

from eve_cli.alignment.context import Context
from eve_cli.alignment.features import Features
from eve_cli.diffusion.schedule import Schedule
from eve_cli.models.editor import Editor


class Teacher(Protocol):
    """A frozen model that scores one aspect of an edited clip, and the discriminator that goes with it.

    A new teacher is one file with a class of this form, constructed as ``(editor, guidance)``, and one row in
    `TEACHERS`.
    """

    name: str
    network: Literal["backbone", "video", "lora_unet"]
    """The network of its editor that it runs."""
    reads_source: bool
    """Whether the input clip is one of its conditions, so that its predictions are right at high noise too."""
    editor: Editor
    guidance: float | None
    """Guidance scale on texts; None is the model's."""

    @property
    def schedule(self) -> Schedule:
        """The noise schedule of its timesteps: the one that it was trained on."""
        ...

    def view(self, clips: Tensor) -> Tensor:
        """The input of `clean` for clips (b, f, c, h, w): single frames (b * f, c, h, w), or the clips."""
        ...

    def clean(self, noisy: Tensor, t: Tensor, context: Context) -> Tensor:
        """Its guided prediction of clean latents for a noisy view at timesteps (rows of the view,)."""
        ...

    def sample(self, noise: Tensor, context: Context, steps: int) -> Tensor:
        """A sample from noise (b, f, c, h, w), in the form of `discriminator_view`: real data for its discriminator."""
        ...

    def discriminator_view(self, clips: Tensor, context: Context) -> Tensor:
        """The frames of clips (b, f, c, h, w) that its discriminator reads."""
        ...

    def discriminator_inputs(self, view: Tensor, context: Context, features: Features) -> tuple[list[Tensor], tuple]:
        """The features of a `discriminator_view`, and the discriminator's further arguments."""
        ...

    def discriminator(self, features: Features, text: int) -> nn.Module:
        """A new discriminator over features, for texts of dimension `text`."""
        ...
