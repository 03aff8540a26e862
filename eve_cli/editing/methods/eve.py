"""The method of EVE: the edit adapter makes the first frame, edit and video adapters together make the clip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from eve_cli.diffusion.samplers import ddim
from eve_cli.editing.contract import Clip, Guidance
from eve_cli.editing.windows import hold_to

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


class Eve:
    """Edits a shot's first frame alone, then window by window conditioned on what is edited already."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The edited latents; a shot's first frame is the edit adapter's, later windows hold to their overlap.

        A lone frame, or a picture, is the edit adapter's alone.
        """
        reference = clip.reference if len(clip.reference) else self.edit_first(editor, clip, guidance)
        if len(clip.source) == 1:
            return reference
        condition = guidance.condition(editor, 1)
        denoise = editor.guided_student(
            condition.text,
            condition.instruction,
            clip.hint[None],
            reference[:1],
            guidance.labels(editor, 1),
            text_cfg=guidance.text_cfg,
            video_cfg=guidance.video_cfg,
        )
        return ddim(
            denoise,
            editor.schedule,
            clip.noise(guidance.seed)[None],
            editor.schedule.trailing(guidance.steps),
            correct=hold_to(reference[None], guidance.steps) if len(clip.reference) else None,
            progress=clip.progress,
        )[0]

    def edit_first(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The first frame (1, channels, height, width), edited as a picture."""
        condition = guidance.condition(editor, 1)
        denoise = editor.guided_edit(
            condition.text,
            condition.instruction,
            clip.hint[:1],
            guidance.labels(editor, 1),
            text_cfg=guidance.text_cfg,
            video_cfg=guidance.video_cfg,
            styled=True,
        )
        noise = clip.noise(guidance.seed)[:1]
        return ddim(denoise, editor.image_schedule, noise, editor.image_schedule.trailing(guidance.steps))
