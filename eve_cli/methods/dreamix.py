"""Dreamix (Molad et al. 2023): a model fine-tuned on the source denoises a degraded copy with the new caption."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from eve_cli.diffusion.samplers import ddim
from eve_cli.diffusion.schedule import Schedule
from eve_cli.diffusion.windows import hold_to
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.finetune import Tuning, finetuned
from eve_cli.methods.options import DreamixOptions

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


class Dreamix:
    """Degrades a clip, and denoises it with the video model to a sharp clip that matches the caption."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The edited latents; a single frame is edited by the backbone, and later windows keep their overlap."""
        options = guidance.options_as(DreamixOptions)
        if (tuning := self.tuning(guidance)).steps:
            editor = finetuned(editor, clip.whole_shot(), tuning, progress=clip.finetuning)
        few = replace(
            clip,
            source=clip.source[:: options.every],
            indices=clip.indices[:: options.every],
            reference=clip.reference[:: options.every],
        )
        return filled_in(clip.source, self.edit_few(editor, few, guidance), options.every)

    def tuning(self, guidance: Guidance) -> Tuning:
        """How the model is fine-tuned on the clip."""
        options = guidance.options_as(DreamixOptions)
        _, alpha, steps = options.combination
        return Tuning(steps, alpha, options.tune_lr)

    def edit_few(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """Some frames of a clip, edited.

        The video model is conditioned on the first frame as edited by the backbone, as in its training, unless it was
        fine-tuned on this clip as a video: then motion changes more freely without (docs/experiments.md).
        """
        options, single_frame = guidance.options_as(DreamixOptions), len(clip.source) == 1
        schedule = editor.image_schedule if single_frame else editor.schedule
        strength, alpha, tune_steps = options.combination
        times = last(schedule, guidance.steps, strength)
        text = editor.embed([guidance.caption or guidance.instruction])
        source = coarsened(editor, clip.source, options.coarse)
        noisy = schedule.add_noise(source, clip.noise(guidance.seed), times[:1])

        def fresh(step: int) -> Tensor:
            return clip.noise(guidance.seed, stream=step + 1)

        if single_frame:
            denoise = editor.guided_image(text, guidance.guidance_scale)
            return ddim(denoise, schedule, noisy, times, progress=clip.progress, fresh=fresh)
        overlap = clip.reference
        first = overlap[:1] if len(overlap) else None
        if first is None and not alpha * tune_steps:
            first = self.edit_few(editor, replace(clip, source=clip.source[:1], indices=clip.indices[:1]), guidance)
        return ddim(
            editor.guided_video(text, first, guidance_scale=guidance.guidance_scale),
            schedule,
            noisy[None],
            times,
            correct=hold_to(overlap[None], len(times)) if len(overlap) else None,
            progress=clip.progress,
            fresh=lambda step: fresh(step)[None],
        )[0]


def last(schedule: Schedule, steps: int, strength: float) -> Tensor:
    """`steps` falling timesteps over the last `strength` of the schedule."""
    return (((schedule.trailing(steps) + 1) * strength).round().long() - 1).clamp(min=0)


def coarsened(editor: Editor, latents: Tensor, times: int) -> Tensor:
    """Latents (frames, c, h, w) of frames that were so many times smaller."""
    if times == 1:
        return latents
    frames = editor.decode(latents)
    small = functional.interpolate(frames, scale_factor=1 / times, mode="area")
    return editor.encode(functional.interpolate(small, frames.shape[-2:], mode="bilinear"))


def filled_in(source: Tensor, edited: Tensor, every: int) -> Tensor:
    """All frames of an edit of every Nth: in between, the source's frames and what changes by linear interpolation.

    Exactly the source where nothing changes; the change of the last edited frame is extended to the end.
    """
    if every == 1:
        return edited
    change, at = edited - source[::every], torch.arange(len(source), device=source.device) / every
    low = at.long()
    return source + torch.lerp(change[low], change[(low + 1).clamp(max=len(change) - 1)], (at - low).view(-1, 1, 1, 1))
