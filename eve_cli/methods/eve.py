"""The method of EVE: the edit adapter makes the first frame, edit and video adapters together make the clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eve_cli.diffusion.samplers import ddim
from eve_cli.diffusion.windows import hold_to
from eve_cli.methods.base import Clip, Guidance

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


class Eve:
    """Edits a shot's first frame alone, then window by window conditioned on what is edited already."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The edited latents; the edit adapter alone edits a shot's first frame, later windows keep their overlap.

        Where a clip is longer than the window of the temporal layers, it edits all keyframes alone. A single frame, or
        a picture, is edited by the edit adapter alone.
        """
        run = guidance.run(len(clip.source))
        keys = run.keyframes[1:] if len(clip.reference) else run.keyframes
        conditions = torch.cat(
            [clip.reference[:1], *([self.as_pictures(editor, clip, guidance, keys)()] if keys else [])]
        )
        if len(clip.source) == 1:
            return conditions
        condition = guidance.condition(editor)
        denoise = editor.guided_student(
            condition.text,
            condition.instruction,
            clip.control_image[None],
            conditions[None],
            guidance.labels(editor, 1),
            guidance_scale=guidance.guidance_scale,
            image_guidance_scale=guidance.image_guidance_scale,
            run=run,
        )
        return ddim(
            denoise,
            editor.schedule,
            clip.noise(guidance.seed)[None],
            editor.schedule.trailing(guidance.steps),
            correct=hold_to(clip.reference[None], guidance.steps) if len(clip.reference) else None,
            progress=clip.progress,
        )[0]

    def as_pictures(self, editor: Editor, clip: Clip, guidance: Guidance, keys: Sequence[int]) -> Callable[[], Tensor]:
        """Edits frames, each as a picture, when called: latents (keys, channels, height, width)."""
        condition, frames = guidance.condition(editor), list(keys)
        denoise = editor.guided_edit(
            condition.text,
            condition.instruction,
            clip.control_image[frames],
            guidance.labels(editor, len(frames)),
            guidance_scale=editor.settings.picture_guidance_scale or guidance.guidance_scale,
            image_guidance_scale=guidance.image_guidance_scale,
            with_lora=True,
        )
        noise = clip.noise(guidance.seed)[frames]
        steps = editor.settings.image_steps or guidance.steps
        return partial(ddim, denoise, editor.image_schedule, noise, editor.image_schedule.trailing(steps))
