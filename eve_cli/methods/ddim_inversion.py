"""A clip back to noise by what it shows, and forth by what it should show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from eve_cli.diffusion.inversion import invert
from eve_cli.diffusion.samplers import ddim
from eve_cli.diffusion.windows import hold_to
from eve_cli.methods.base import Clip, Guidance

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


def resampled(
    editor: Editor,
    clip: Clip,
    guidance: Guidance,
    captions: tuple[str, str],
    corrections: int,
    first: Tensor | None = None,
) -> Tensor:
    """The edited latents of a clip, by the video model, or of a lone frame, by the backbone.

    With `first`, the edited first frame (1, c, h, w), the way back begins at the source's and the way forth at this.
    """
    told, asked = (editor.embed([text]) for text in captions)
    alone, correct = len(clip.source) == 1, None
    if alone:
        schedule, clean = editor.image_schedule, clip.source
        back, forth = editor.guided_image(told, 1.0), editor.guided_image(asked, guidance.guidance_scale)
    else:
        schedule, clean = editor.schedule, clip.source[None]
        back = editor.guided_video(told, None if first is None else clip.source[:1], guidance_scale=1.0)
        forth = editor.guided_video(asked, first, guidance_scale=guidance.guidance_scale)
    times = schedule.trailing(guidance.steps)
    if len(clip.reference) and not alone:
        correct = hold_to(clip.reference[None], len(times))
    path = invert(
        back,
        schedule,
        clean,
        times,
        corrections=corrections,
        progress=lambda done, of: clip.report(done, 2 * of),
    )
    made = ddim(
        forth,
        schedule,
        path[0],
        times,
        correct=correct,
        progress=lambda done, of: clip.report(of + done, 2 * of),
    )
    return made if alone else made[0]
