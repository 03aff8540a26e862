"""Editing by the difference of two scores: latents that start as the source move as the captions differ.

DDS is Delta Denoising Score (Hertz et al. 2023). ASSD is Adaptive Sliding Score Distillation (Zhu et al. 2024), whose
equations are numbered here as there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from eve_cli.diffusion.guidance import one_scale
from eve_cli.diffusion.noise import frame_seed
from eve_cli.diffusion.schedule import Schedule
from eve_cli.methods.base import Clip
from eve_cli.models import attention

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor

Captions = tuple[str, str]
"""Of the source, and of the result."""
Scores = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""`scores(edited, t, noise)`: the noise that a model predicts for the noised edit with the caption of the result, and
for the noised source with the source's; both (f, c, h, w), as `edited` and `noise`."""
Gradient = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`gradient(edited, t, noise)`, of the same shape."""
Sliding = Literal["error", "noise", "off"]
MaskRule = Literal["text", "printed", "off"]

TIMES = 0.05, 0.95
"""The part of the timesteps that updates are drawn from (50 to 950 of 1,000 in DDS's own code)."""
SMOOTHING = 0.25, 0.5, 0.25
"""Weights of the frame before, the frame itself and the one behind (gamma of equation 8; the paper prints none)."""


def optimise(editor: Editor, clip: Clip, gradient: Gradient, seed: int, updates: int, rate: float) -> Tensor:
    """The latents of a clip after updates by stochastic gradient descent; frames that were edited before stay.

    Noise depends on the frame and the update alone, and timesteps on the update alone.
    """
    overlap = len(clip.reference)
    edited = torch.cat([clip.reference, clip.source[overlap:]])
    low, high = (int(share * editor.schedule.steps) for share in TIMES)
    times = torch.randint(low, high, (updates,), generator=torch.Generator().manual_seed(frame_seed(seed, -1)))
    for update, t in enumerate(times.to(edited.device)):
        edited[overlap:] -= rate * gradient(edited, t, clip.noise(seed, update + 1))[overlap:]
        clip.report(update + 1, updates)
    return edited


def delta(scores: Scores) -> Gradient:
    """Equations 7 and 14: the noise of the result minus that of the source."""

    def gradient(edited: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        target, reference = scores(edited, t, noise)
        return target - reference

    return gradient


def sliding_delta(scores: Scores, sliding: Sliding, mask: MaskRule, tau: float) -> Gradient:
    """Equation 10: the same, with the noise predicted for the source smoothed over the frames where the mask is set.

    The paper smooths the `noise` itself. As that is independent per frame, its neighbours' part then stays in the
    gradient and so in the clip; `error` smooths only the difference of the predicted noise from the added one.
    """

    def gradient(edited: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        target, reference = scores(edited, t, noise)
        added = noise if sliding == "error" else torch.zeros_like(noise)
        where = change_mask(target - reference, mask, tau)
        return target - torch.where(where, smoothed(reference - added) + added, reference)

    return gradient


def smoothed(noise: Tensor) -> Tensor:
    """Equation 8: each frame (f, c, h, w) mixed with its neighbours; the first and last are repeated at the ends."""
    before, after = torch.cat([noise[:1], noise[:-1]]), torch.cat([noise[1:], noise[-1:]])
    return SMOOTHING[0] * before + SMOOTHING[1] * noise + SMOOTHING[2] * after


def change_mask(change: Tensor, rule: MaskRule, tau: float) -> Tensor:
    """Equation 9: where a change (f, c, h, w) is near its largest over the frames (`text`), is not (`printed`), or
    everywhere (`off`).

    According to the paper's text, errors are where the change is large, and a smaller `tau` makes the mask smaller; its
    formula is the opposite of both. `tau` is a share of the largest change.
    """
    size = change.abs()
    threshold = size.amax(0, keepdim=True) * (1 - tau)
    return (
        size > threshold if rule == "text" else size < threshold if rule == "printed" else torch.ones_like(size).bool()
    )


def image_scores(editor: Editor, source: Tensor, captions: Captions, scale: float) -> Scores:
    """The scores of the backbone, which takes every frame separately, at its own timesteps of the same noise level."""
    schedule = editor.image_schedule

    def clean(noisy: Tensor, t: Tensor, embeddings: Tensor) -> Tensor:
        t, embeddings = (value.repeat_interleave(len(source), 0) for value in (t, embeddings))
        return editor.clean_image(noisy.flatten(0, 1), t, embeddings).view(noisy.shape)

    scores = _scores(editor, schedule, source, captions, scale, clean)
    return lambda edited, t, noise: scores(edited, editor.schedule.matched(t, schedule), noise)


def video_scores(
    editor: Editor, clip: Clip, captions: Captions, scale: float, edit_weight: float = 1.0, layers: int = 0
) -> Scores:
    """The scores of the video model; after the first window both branches are conditioned on their first frame.

    In the last `layers` self-attention layers the edit attends to itself with the weight `own` and to the source with
    the rest.
    """
    first = torch.cat([clip.reference[:1], clip.source[:1]])[: 2 * len(clip.reference)]
    unet, shared = editor.video, edit_weight < 1 and layers > 0
    names = attention.named(unet, attention.SELF)[-layers:] if shared and unet is not None else []

    def clean(noisy: Tensor, t: Tensor, embeddings: Tensor) -> Tensor:
        attend_by_layer = dict.fromkeys(names, fused(edit_weight, len(clip.source)))
        with attention.attending(unet, attend_by_layer) if names and unet is not None else nullcontext():
            first_frames = first.repeat(len(noisy) // 2, 1, 1, 1) if len(clip.reference) else None
            return editor.clean_video(noisy, t, embeddings, first_frames)

    return _scores(editor, editor.schedule, clip.source, captions, scale, clean)


def fused(edit_weight: float, frames: int) -> attention.Attend:
    """Equations 11 to 13, for rows of which each `frames` of an edit are followed by those of its source."""

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        pairs = [part.unflatten(0, (-1, 2, frames)).transpose(0, 1).flatten(1, 2) for part in (query, key, value)]
        (edit, source), (k, k_source), (v, v_source) = pairs
        mixed = edit_weight * attention.plain(edit, k, v) + (1 - edit_weight) * attention.plain(
            edit, k_source, v_source
        )
        both = torch.stack([mixed, attention.plain(source, k_source, v_source)])
        return both.unflatten(1, (-1, frames)).transpose(0, 1).flatten(0, 2)

    return attend


def _scores(
    editor: Editor,
    schedule: Schedule,
    source: Tensor,
    captions: Captions,
    scale: float,
    clean: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Scores:
    """Scores by one call of a model: the edit and the source, with their captions and, for guidance, without."""
    embeddings = editor.embed([captions[1], captions[0], *([""] * 2 if scale != 1 else [])])

    def scores(edited: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        rows = t.expand(len(embeddings))
        noisy = schedule.add_noise(torch.stack([edited, source]), noise, rows[:2]).repeat(
            len(embeddings) // 2, 1, 1, 1, 1
        )
        noises = schedule.to_noise(noisy, clean(noisy, rows, embeddings), rows)
        conditional, unconditional = noises[:2], noises[2:]
        target, reference = one_scale(unconditional, conditional, scale) if len(unconditional) else conditional
        return target, reference

    return scores
