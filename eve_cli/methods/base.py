"""The inputs and the result of an editing method.

A method is a class in a file of its own in this folder, with a row in `registry.METHODS`. Options of its own are the
fields of a frozen dataclass of that row; they become flags of `eve edit` in a panel named after the method, are
recorded in run.json, are refused for other methods, and are read as `guidance.options_as(ItsOptions)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor

from eve_cli.diffusion.noise import frame_noise
from eve_cli.methods.options import MethodOptions
from eve_cli.models.inference.sampling import ProcessGroup, Sampling, Windows
from eve_cli.tasks import TASKS

if TYPE_CHECKING:
    from eve_cli.models.editor import Condition, Editor

Options = TypeVar("Options", bound=MethodOptions)


@dataclass(frozen=True)
class Guidance:
    """The resolved settings of a method: nothing is left to a default."""

    instruction: str
    caption: str | None
    task: str | None
    steps: int
    guidance_scale: float
    image_guidance_scale: float
    seed: int
    options: MethodOptions | None = None
    window: int | None = None
    """Frames that temporal layers see at once, in windows with `overlap`; None if they see a clip whole."""
    overlap: int = 0
    keyframes: int = 0
    """One of so many frames of such a clip is edited alone, for the others to follow; 0: the first."""
    cache_interval: int = 1
    cfg_end: float = 1.0
    shared: bool = False
    """Whether all processes edit this clip, each its own frames of it."""

    def options_as(self, kind: type[Options]) -> Options:
        """The method's options as `kind`; its defaults if there are none. TypeError for those of another method."""
        if self.options is None:
            return kind()
        if not isinstance(self.options, kind):
            raise TypeError(f"The options are {type(self.options).__name__}, not {kind.__name__}.")
        return self.options

    def run(self, frames: int, keys: bool = True) -> Sampling:
        """How a clip of so many frames is sampled, with keyframes or without."""
        run = Sampling(cache_interval=self.cache_interval, guided_steps=round(self.cfg_end * self.steps))
        if self.window is None or frames <= self.window:
            return run
        run.windows = Windows(self.window, self.overlap)
        run.group = ProcessGroup.of(frames, self.window) if self.shared else None
        run.keyframes = tuple(range(0, frames, self.keyframes or frames)) if keys else (0,)
        return run

    def condition(self, editor: Editor) -> Condition:
        """The embedded texts, in one row for all frames."""
        return editor.condition([self.instruction], None if self.caption is None else [self.caption])

    def idle(self) -> Guidance:
        """The same without an instruction."""
        return replace(self, instruction="", caption=None, task=None)

    def labels(self, editor: Editor, rows: int) -> Tensor | None:
        """The task's label number for `rows` frames or clips; None if no task was named."""
        return None if self.task is None else torch.full((rows,), TASKS.index(self.task), device=editor.device)


@dataclass(frozen=True)
class Clip:
    """One window of source latents (frames, channels, height, width), and its context.

    `control_image` is the edit adapter's view of the source: the same latents, or frames (frames, 3, height, width).
    `indices` are the absolute numbers of the frames; `reference` (overlap, channels, height, width) are the edited
    latents of the first frames, from the window before, and empty at the start of a shot. `progress(done, of)` counts
    steps. `shot` reads the source latents of the whole shot (default: those of the window), for methods that fine-tune
    on a clip before they edit it; `finetuning` reports the steps of that.
    """

    source: Tensor
    control_image: Tensor
    indices: range
    reference: Tensor
    progress: Callable[[int, int], None] | None = None
    shot: Callable[[], Tensor] | None = None
    finetuning: Callable[[int, int], None] | None = None

    def whole_shot(self) -> Tensor:
        """The source latents of the whole shot."""
        return self.source if self.shot is None else self.shot()

    def report(self, done: int, of: int) -> None:
        """Calls `progress`, if there is one."""
        if self.progress is not None:
            self.progress(done, of)

    def part(self, start: int, stop: int) -> Clip:
        """Some of its frames, without a reference."""
        part = slice(start, stop)
        return Clip(self.source[part], self.control_image[part], self.indices[part], self.source[:0])

    def noise(self, seed: int, stream: int = 0) -> Tensor:
        """Noise for every frame, by its absolute index."""
        _, channels, height, width = self.source.shape
        noise = frame_noise(seed, self.indices, (channels, height, width), stream)
        return noise.to(self.source.device, torch.float32)


def in_blocks(editor: Editor, clip: Clip, guidance: Guidance) -> tuple[list[Clip], Callable[[Tensor], Tensor]]:
    """This process's frames of a clip in parts of the model's frames, for work that treats each frame alone.

    The function gathers the results of all processes, (rows, frames, ...), from the own of each.
    """
    group = ProcessGroup.of(len(clip.source), 1) if guidance.shared else None
    frames, step = range(len(clip.source)) if group is None else group.own, editor.settings.frames
    starts = range(frames.start, frames.stop, step)
    parts = [clip.part(start, min(start + step, frames.stop)) for start in starts]
    return parts, (lambda own: own) if group is None else group.gathered


class EditMethod(Protocol):
    """A way to edit: a class without state, in a file of its own, with a row in METHODS."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The edited latents of all frames of the clip, in the shape of its source."""
        ...
