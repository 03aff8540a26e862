"""DDIM inversion: the clip back to noise, and from that noise to the caption."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.ddim_inversion import resampled
from eve_cli.methods.options import InversionOptions

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


class Inversion:
    """DDIM inversion by the video model, then sampling; what both captions share is reconstructed."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The edited latents; a single frame is edited by the backbone, and a clip is conditioned on its first frame,
        edited on its own or by the window before."""
        options, first = guidance.options_as(InversionOptions), None
        if len(clip.source) > 1:
            first = clip.reference[:1] if len(clip.reference) else self.edit(editor, clip.part(0, 1), guidance)
        captions = options.captions(guidance.instruction, guidance.caption)
        return resampled(editor, clip, guidance, captions, options.corrections, first)
