"""DDIM inversion of a clip with its source caption, then sampling with the caption of the result."""

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
    """The edited latents of a clip, by the video model, or of a single frame, by the backbone.

    `captions` are those of the source and of the result. With `first`, the edited first frame (1, c, h, w), inversion
    is conditioned on the source's first frame and sampling on this one.
    """
    source_text, target_text = (editor.embed([text]) for text in captions)
    single_frame, correct = len(clip.source) == 1, None
    if single_frame:
        schedule, clean = editor.image_schedule, clip.source
        denoise_source, denoise_target = (
            editor.guided_image(source_text, 1.0),
            editor.guided_image(target_text, guidance.guidance_scale),
        )
    else:
        schedule, clean = editor.schedule, clip.source[None]
        denoise_source = editor.guided_video(
            source_text, None if first is None else clip.source[:1], guidance_scale=1.0
        )
        denoise_target = editor.guided_video(target_text, first, guidance_scale=guidance.guidance_scale)
    times = schedule.trailing(guidance.steps)
    if len(clip.reference) and not single_frame:
        correct = hold_to(clip.reference[None], len(times))
    path = invert(
        denoise_source,
        schedule,
        clean,
        times,
        corrections=corrections,
        progress=lambda done, of: clip.report(done, 2 * of),
    )
    edited = ddim(
        denoise_target,
        schedule,
        path[0],
        times,
        correct=correct,
        progress=lambda done, of: clip.report(of + done, 2 * of),
    )
    return edited if single_frame else edited[0]
