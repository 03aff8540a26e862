"""What alignment asks of a teacher."""

from __future__ import annotations

from typing import Literal, Protocol

from torch import Tensor, nn

from eve_cli.alignment.context import Context
from eve_cli.alignment.features import Features
from eve_cli.diffusion.schedule import Schedule
from eve_cli.models.editor import Editor


class Teacher(Protocol):
    """A frozen model that judges one side of an edited clip, and what it takes to tell its samples from the student's.

    A new teacher is one file with a class of this form, made by ``(editor, guidance)``, and one row in `TEACHERS`.
    """

    name: str
    tree: Literal["backbone", "video", "lora_unet"]
    """Which of its editor's trees it runs on."""
    sees_source: bool
    """Whether it knows the input clip, and so is right in much noise too."""
    editor: Editor
    guidance: float | None
    """Guidance on the texts; None is the model's own."""

    @property
    def schedule(self) -> Schedule:
        """On which its timesteps count: that of what it was trained with."""
        ...

    def view(self, clips: Tensor) -> Tensor:
        """What it looks at of clips (b, f, c, h, w): lone frames (b * f, c, h, w), or the clips."""
        ...

    def clean(self, noisy: Tensor, t: Tensor, context: Context) -> Tensor:
        """Its clean latents of a noisy view at timesteps (rows of the view,), guided."""
        ...

    def sample(self, noise: Tensor, context: Context, steps: int) -> Tensor:
        """Its own answer from noise (b, f, c, h, w): what its discriminator takes for real, as `shown` gives it."""
        ...

    def shown(self, clips: Tensor, context: Context) -> Tensor:
        """What its discriminator is shown of clips (b, f, c, h, w)."""
        ...

    def evidence(self, shown: Tensor, context: Context, features: Features) -> tuple[list[Tensor], tuple]:
        """The features of what is shown, and the further arguments that the discriminator takes with them."""
        ...

    def discriminator(self, features: Features, text: int) -> nn.Module:
        """A fresh discriminator over features, for texts of dimension `text`."""
        ...
