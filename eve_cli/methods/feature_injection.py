"""Plug-and-play features (Tumanyan et al. 2023): an edit is sampled beside its inverted source with its features."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eve_cli.diffusion.guidance import one_scale
from eve_cli.diffusion.inversion import invert
from eve_cli.diffusion.samplers import ddim
from eve_cli.diffusion.windows import hold_to
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.options import PnPOptions
from eve_cli.models import attention
from eve_cli.models.attention import SELF, Attend

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor

Way = Callable[[int, bool], Attend]
"""`way(step, shares)`: how a self-attention layer attends at a step, and whether it takes queries and keys of the
source. Rows are the frames of the source, then those of the edit, then those of the edit without a caption."""


def injected(
    editor: Editor, clip: Clip, guidance: Guidance, options: PnPOptions, way: Way, hold: bool = False
) -> Tensor:
    """The edited latents of a clip; frames are pictures to the backbone, but for what `way` lets them see, and for the
    frames of the window before where it is to `hold` to them.

    At each step the source's noisy latents go through the network beside the edit's, so that nothing needs keeping
    but them. The paper's layers: the features are those of one residual block of the decoder, and the attention that
    of its layers from there on.
    """
    schedule, unet, frames = editor.image_schedule, editor.backbone, len(clip.source)
    times = schedule.trailing(guidance.steps)
    source_caption, target_caption = options.captions(guidance.instruction, guidance.caption)
    texts = editor.embed([source_caption, target_caption, *([""] if guidance.guidance_scale != 1 else [])])
    path = invert(
        editor.guided_image(texts[:1], 1.0),
        schedule,
        clip.source,
        times,
        corrections=options.corrections,
        progress=lambda done, of: clip.report(done, 2 * of),
    )
    layers = attention.named(unet, SELF)
    decoder = [name for name in layers if name.startswith("up_blocks")][1:]
    step = 0

    def denoise(noisy: Tensor, t: Tensor) -> Tensor:
        nonlocal step
        shares = decoder if step < options.share_attention * len(path) else []
        rows = torch.cat([path[step], noisy[0].repeat(len(texts) - 1, 1, 1, 1)])
        with ExitStack() as stack:
            stack.enter_context(attention.attending(unet, {name: way(step, name in shares) for name in layers}))
            if decoder and step < options.share_features * len(path):
                stack.enter_context(attention.changing(unet, {residual(decoder[0]): of_source(frames)}))
            clean = editor.clean_image(rows, t.expand(len(rows)), texts)
        step += 1
        _, full, *none = clean.chunk(len(texts))
        return (one_scale(none[0], full, guidance.guidance_scale) if none else full)[None]

    return ddim(
        denoise,
        schedule,
        path[0][None],
        times,
        correct=hold_to(clip.reference[None], len(times)) if hold and len(clip.reference) else None,
        progress=lambda done, of: clip.report(of + done, 2 * of),
    )[0]


def residual(layer: str) -> str:
    """The residual block in front of an attention layer."""
    block, behind = layer.split(".attentions.")
    return f"{block}.resnets.{behind.split('.')[0]}"


def of_source(frames: int) -> attention.Change:
    """Replaces the edit's rows by the first `frames` rows, the source's."""
    return lambda rows: rows[:frames].repeat(len(rows) // frames, *(1,) * (rows.ndim - 1))
