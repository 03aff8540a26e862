"""Adaptive Sliding Score Distillation (Zhu et al. 2024): DDS by the video model, with its errors smoothed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.options import ASSDOptions
from eve_cli.methods.score_distillation import Gradient, delta, image_scores, optimise, sliding_delta, video_scores

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


class ASSD:
    """Smooths the source's score where the edit acts, mixes its attention in, and adds the backbone's gradient."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The edited latents; a single frame has no neighbours and is updated by the backbone."""
        options = guidance.options_as(ASSDOptions)
        gradient = self.gradient(editor, clip, guidance, options)
        return optimise(editor, clip, gradient, guidance.seed, guidance.steps, options.rate_of(guidance.steps))

    def gradient(self, editor: Editor, clip: Clip, guidance: Guidance, options: ASSDOptions) -> Gradient:
        """Equation 15."""
        captions, scale = options.captions(guidance.instruction, guidance.caption), guidance.guidance_scale
        image = delta(image_scores(editor, clip.source, captions, scale))
        if len(clip.source) == 1:
            return image
        scores = video_scores(editor, clip, captions, scale, options.fusion, options.fusion_layers)
        video = delta(scores)
        if options.sliding != "off":
            video = sliding_delta(scores, options.sliding, options.mask, options.tau)
        if not options.joint:
            return video
        return lambda edited, t, noise: video(edited, t, noise) + options.joint * image(edited, t, noise)
