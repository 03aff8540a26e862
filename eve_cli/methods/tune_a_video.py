"""Tune-A-Video (Wu et al. 2023): fine-tuned on the clip and its caption, the model samples its inverted noise with
another caption."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.ddim_inversion import resampled
from eve_cli.methods.finetune import Tuning, finetuned, sparsely
from eve_cli.methods.options import TuneAVideoOptions

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


class TuneAVideo:
    """Places attend to the first frame and to the one before, during fine-tuning and sampling."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The edited latents; later windows continue from their overlap."""
        options, tuning = guidance.options_as(TuneAVideoOptions), self.tuning(guidance)
        captions = options.captions(guidance.instruction, guidance.caption)
        if tuning.steps:
            editor = finetuned(editor, clip.whole_shot(), tuning, captions[:1], clip.finetuning)
        first = clip.reference[:1] if len(clip.reference) else None
        with sparsely(editor.video, len(clip.source)):
            return resampled(editor, clip, guidance, captions, options.corrections, first)

    def tuning(self, guidance: Guidance) -> Tuning:
        """How the model is fine-tuned on the clip: as a video only."""
        options = guidance.options_as(TuneAVideoOptions)
        return Tuning(options.tune_steps, alpha=1.0, lr=options.tune_lr, sparse=True)
