"""What an editing method is given and what it gives back.

A method is a class in a file of its own in `editing/methods`, with a row in METHODS. If it has options of its own, they
are the fields of a frozen dataclass in a light file of the same name in `editing/options`, with a row in OPTIONS: they
become options of `eve edit` in a panel named after the method, are kept in run.json, are refused for other methods, and
reach the method as `guidance.own(ItsOptions)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor

from eve_cli.diffusion.noise import frame_noise
from eve_cli.editing.options.base import MethodOptions
from eve_cli.models.parts import TASKS

if TYPE_CHECKING:
    from eve_cli.models.editor import Condition, Editor

Own = TypeVar("Own", bound=MethodOptions)


@dataclass(frozen=True)
class Guidance:
    """The resolved settings of a method: nothing is left to a default."""

    instruction: str
    caption: str | None
    task: str | None
    steps: int
    text_cfg: float
    video_cfg: float
    seed: int
    options: MethodOptions | None = None

    def own(self, kind: type[Own]) -> Own:
        """The method's own options; as they are by themselves if none were given."""
        if self.options is None:
            return kind()
        if not isinstance(self.options, kind):
            raise TypeError(f"{type(self.options).__name__} were given where {kind.__name__} are needed.")
        return self.options

    def condition(self, editor: Editor, rows: int) -> Condition:
        """What the networks read, for `rows` frames or clips."""
        caption = None if self.caption is None else [self.caption] * rows
        return editor.condition([self.instruction] * rows, caption)

    def idle(self) -> Guidance:
        """The same with nothing asked for."""
        return replace(self, instruction="", caption=None, task=None)

    def labels(self, editor: Editor, rows: int) -> Tensor | None:
        """The task's label number for `rows` frames or clips; None if no task was named."""
        return None if self.task is None else torch.full((rows,), TASKS.index(self.task), device=editor.device)


@dataclass(frozen=True)
class Clip:
    """One window of source latents (frames, channels, height, width), and what is known of it.

    `hint` is what the edit adapter is shown of the source: the same latents, or frames (frames, 3, height, width).
    `indices` are the absolute numbers of the frames; `reference` (overlap, channels, height, width) are the edited
    latents of the first frames, from the window before, and empty at the start of a shot. `progress(done, of)` counts
    steps. `shot` reads the source latents of the whole shot, which are those of the window where it is not given: for
    methods that learn a clip before they edit it, whose steps `learning` counts.
    """

    source: Tensor
    hint: Tensor
    indices: range
    reference: Tensor
    progress: Callable[[int, int], None] | None = None
    shot: Callable[[], Tensor] | None = None
    learning: Callable[[int, int], None] | None = None

    def whole(self) -> Tensor:
        """The source latents of the whole shot."""
        return self.source if self.shot is None else self.shot()

    def noise(self, seed: int, stream: int = 0) -> Tensor:
        """Noise for every frame, by its absolute index."""
        _, channels, height, width = self.source.shape
        noise = frame_noise(seed, self.indices, (channels, height, width), stream)
        return noise.to(self.source.device, torch.float32)


class EditMethod(Protocol):
    """A way to edit: a class without state, in a file of its own, with a row in METHODS."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The edited latents of all frames of the clip, in the shape of its source."""
        ...
