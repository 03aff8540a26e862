"""Snowflakes and streaks of rain: what a sample of the edit adapter shows and its one-step mean cannot.

The mean over all places where a flake could be is a haze (`effect`). A sample has flakes, but also errors of its own.
What counts is bright, small and in the sample alone: the difference of a sample with the instruction and one without,
less that of the means, where it exceeds the error in copying. Both samples begin with the same noise, which falls from
frame to frame, so the particles fall too.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from eve_cli.diffusion.noise import falling_noise
from eve_cli.diffusion.samplers import Denoise, ddim
from eve_cli.methods.base import Clip, Guidance, in_blocks

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor

GUIDANCE_SCALE = 1.5
"""Guidance scale of the sample with the instruction; an unguided one has few particles."""
FRAMES_A_ROW = 2
"""Frames in which the noise falls by one row of latents."""
CHANGED, MOST = 0.07, 0.35
LARGEST, FAINTEST, SOFT, GAIN = 3, 0.02, 0.03, 1.5


def changes_most(without_instruction: Tensor, with_instruction: Tensor) -> bool:
    """Whether most of the frames (f, 3, h, w) differ, as under weather; an added thing changes a part of them."""
    return bool(((with_instruction - without_instruction).norm(dim=1) > CHANGED).float().mean() > MOST)


def particles(editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
    """What falls, as light to be added to the frames: (1, frames, 3, height, width) in [0, 1] at the model's size."""
    parts, gathered = in_blocks(editor, clip, guidance)
    _, channels, height, width = clip.source.shape
    timesteps = editor.image_schedule.trailing(editor.settings.particle_steps)
    between, blocks = editor.factor / FRAMES_A_ROW, []
    for part in parts:
        noise = falling_noise(guidance.seed, part.indices, (channels, height, width), FRAMES_A_ROW).to(part.source)
        differences, copy = [], noise
        for settings, scale in ((guidance, GUIDANCE_SCALE), (guidance.idle(), 1.0)):
            means: list[Tensor] = []
            denoise = _denoiser(editor, part, settings, scale)
            sample = ddim(denoise, editor.image_schedule, noise, timesteps, correct=partial(_store, means))
            copy = editor.decode(sample)
            differences.append(copy - editor.decode(means[0]))
        light = bright_and_small(differences[0] - differences[1], editor.decode(part.source), copy)
        shifts = [round(index % FRAMES_A_ROW * between) for index in part.indices]
        blocks.append(torch.stack([lowered(*each) for each in zip(light, shifts, strict=True)]).expand(-1, 3, -1, -1))
    return gathered(torch.cat(blocks)[None])


def _denoiser(editor: Editor, clip: Clip, guidance: Guidance, scale: float) -> Denoise:
    condition = guidance.condition(editor)
    return editor.guided_edit(
        condition.text,
        condition.instruction,
        clip.control_image,
        guidance.labels(editor, len(clip.source)),
        guidance_scale=scale,
        image_guidance_scale=1.0,
        with_lora=True,
    )


def _store(cleans: list[Tensor], step: int, noisy: Tensor, clean: Tensor, t: Tensor) -> Tensor:
    """Appends the prediction of a step; the first, from pure noise, is the mean."""
    cleans.append(clean)
    return clean


def bright_and_small(difference: Tensor, source: Tensor, copy: Tensor) -> Tensor:
    """The part of a difference (f, 3, h, w) that is bright and small, (f, 1, h, w) in [0, 1].

    It must exceed what the source has of fine detail near by, and the error of its copy by the model.
    """
    small = (difference - _box(_box(difference, LARGEST), LARGEST)).amin(1, keepdim=True).clamp_min(0)
    error = _box((copy - source).abs().mean(1, keepdim=True), 2)
    detail = _box((source - _box(source, 1)).abs().mean(1, keepdim=True), 2)
    return (GAIN * small * ((small - FAINTEST - error - detail) / SOFT).clamp(0, 1)).clamp_max(1)


def lowered(frame: Tensor, rows: int) -> Tensor:
    """A picture (channels, height, width) moved down by some rows; the first rows are zero."""
    return functional.pad(frame, (0, 0, rows, 0))[:, : frame.shape[1]]


def _box(values: Tensor, radius: int) -> Tensor:
    padded = functional.pad(values, (radius,) * 4, mode="replicate")
    return functional.avg_pool2d(padded, 2 * radius + 1, 1)
