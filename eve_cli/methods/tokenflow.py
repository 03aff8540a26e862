"""TokenFlow (Geyer et al. 2023): keyframes are edited jointly, and their tokens propagated along the source's."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.feature_injection import injected
from eve_cli.methods.options import TokenFlowOptions
from eve_cli.models.attention import Attend, plain

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


class TokenFlow:
    """Plug-and-play in which attention's outputs are those at the nearest places of the nearest keyframes."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The edited latents; later windows hold to their overlap."""
        options, frames = guidance.options_as(TokenFlowOptions), len(clip.source)

        def way(step: int, shares: bool) -> Attend:
            return propagated(keyframes(frames, options.stride, f"{guidance.seed} {step}"), frames, shares)

        return injected(editor, clip, guidance, options, way, hold=True)


def keyframes(frames: int, stride: int, seed: str) -> list[int]:
    """One frame by chance of each `stride`."""
    rng = random.Random(seed)
    return [rng.randrange(start, min(start + stride, frames)) for start in range(0, frames, stride)]


def propagated(keys: Sequence[int], frames: int, shares: bool) -> Attend:
    """Attention for the frames of a source, followed by those of edits of it (sections 4.1 and 4.2).

    The keyframes of an edit attend to the places of all keyframes. Each place of another frame takes the output at the
    keyframe place whose attention output in the source is nearest.
    """
    keys = list(keys)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query, key, value = (part.unflatten(0, (-1, frames)) for part in (query, key, value))
        source = plain(query[0], key[0], value[0])
        if shares:
            query, key = (part[:1].expand_as(part) for part in (query, key))
        outputs = [joint(*(part[edit, keys] for part in (query, key, value))) for edit in range(1, len(value))]
        edits = flow(source, torch.stack(outputs), keys)
        return torch.cat([source[None], edits]).flatten(0, 1)

    return attend


def joint(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of frames (frames, heads, places, dim) to the places of them all."""
    key, value = (part.transpose(0, 1).flatten(1, 2).expand(len(query), -1, -1, -1) for part in (key, value))
    return plain(query, key, value)


def flow(source: Tensor, outputs: Tensor, keys: Sequence[int]) -> Tensor:
    """The keyframes' `outputs` (edits, keys, heads, places, dim) propagated to all frames: (edits, frames, ...).

    `source` (frames, heads, places, dim) determines which place of a keyframe is nearest to one of another frame.
    Between two keyframes both contribute, weighted by a sigmoid of the difference of their distances in time.
    """
    tokens = functional.normalize(source.transpose(1, 2).flatten(2), dim=-1)
    frames_out = []
    for frame in range(len(source)):
        if frame in keys:
            frames_out.append(outputs[:, keys.index(frame)])
            continue
        around = [*[k for k in keys if k < frame][-1:], *[k for k in keys if k > frame][:1]]
        weights = torch.tensor([-float(abs(frame - k)) for k in around]).softmax(0).tolist()
        mixed = torch.zeros_like(outputs[:, 0])
        for k, weight in zip(around, weights, strict=True):
            nearest = (tokens[frame] @ tokens[k].T).argmax(-1)
            mixed += weight * outputs[:, keys.index(k), :, nearest]
        frames_out.append(mixed)
    return torch.stack(frames_out, 1)
