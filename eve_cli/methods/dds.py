"""Delta Denoising Score (Hertz et al. 2023) by the video model: what ASSD is built on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.options import DDSOptions
from eve_cli.methods.score_distillation import delta, image_scores, optimise, video_scores

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


class DDS:
    """Moves the source's latents by what two captions differ in."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The edited latents; a single frame is updated by the backbone, as DDS updates pictures."""
        options, scale = guidance.options_as(DDSOptions), guidance.guidance_scale
        captions = options.captions(guidance.instruction, guidance.caption)
        if len(clip.source) == 1:
            scores = image_scores(editor, clip.source, captions, scale)
        else:
            scores = video_scores(editor, clip, captions, scale)
        return optimise(editor, clip, delta(scores), guidance.seed, guidance.steps, options.rate_of(guidance.steps))
