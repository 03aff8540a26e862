"""DDIM inversion: the clip back to noise without words, and from that noise to the caption."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from eve_cli.diffusion.inversion import invert
from eve_cli.diffusion.samplers import ddim
from eve_cli.editing.contract import Clip, Guidance
from eve_cli.editing.options.inverting import InvertingOptions
from eve_cli.editing.windows import hold_to

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


class Inversion:
    """The video model's own way back and forth; what the captions do not differ in comes back."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The edited latents; a lone frame goes through the backbone.

        The video model goes back from the source's first frame, and forth from the edited one.
        """
        options, held = guidance.own(InvertingOptions), clip.reference
        told, asked = (editor.embed([text]) for text in options.captions(guidance.instruction, guidance.caption))
        if alone := len(clip.source) == 1:
            schedule, clean = editor.image_schedule, clip.source
            back, forth = editor.guided_image(told, 1.0), editor.guided_image(asked, guidance.text_cfg)
        else:
            schedule, clean = editor.schedule, clip.source[None]
            first = held[:1] if len(held) else self.edit(editor, clip.part(0, 1), guidance)
            back = editor.guided_video(told, clip.source[:1], text_cfg=1.0)
            forth = editor.guided_video(asked, first, text_cfg=guidance.text_cfg)
        times = schedule.trailing(guidance.steps)
        path = invert(
            back,
            schedule,
            clean,
            times,
            corrections=options.corrections,
            progress=lambda done, of: clip.report(done, 2 * of),
        )
        correct = hold_to(held[None], len(times)) if len(held) else None
        made = ddim(
            forth,
            schedule,
            path[0],
            times,
            correct=None if alone else correct,
            progress=lambda done, of: clip.report(of + done, 2 * of),
        )
        return made if alone else made[0]
