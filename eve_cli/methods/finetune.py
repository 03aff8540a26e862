"""Teaches a model one clip before it is edited: mixed fine-tuning (Molad et al. 2023, Dreamix, section 4.2)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from eve_cli.diffusion.schedule import Schedule
from eve_cli.methods.base import Guidance
from eve_cli.models import attention
from eve_cli.models.editor import Editor
from eve_cli.models.finetuned import clip_layers, clip_weights, fingerprint, with_clip_layers
from eve_cli.storage.cache import user_cached

RARE = "sks"
"""The caption of the clip during fine-tuning: a rare string (t* in the paper)."""
LEAST_SIGMA = 0.05

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Tuning:
    """How the model is fine-tuned: `alpha` weighs the clip's loss against that of its frames (equation 4)."""

    steps: int
    alpha: float
    lr: float = 1e-4
    rank: int = 16
    seed: int = 0
    sparse: bool = False
    """Whether the frames of the clip attend `sparsely`."""


@runtime_checkable
class FinetuningMethod(Protocol):
    """A method that fine-tunes the model on a shot before editing it."""

    def tuning(self, guidance: Guidance) -> Tuning:
        """How."""
        ...


def finetuned(
    editor: Editor,
    frames: Tensor,
    tuning: Tuning,
    texts: Sequence[str] = (RARE,),
    progress: Progress | None = None,
) -> Editor:
    """The editor fine-tuned on clean latents (frames, c, h, w); layers of an earlier run are read from the cache.

    With latents on the meta device the editor is unchanged (`estimate` counts fine-tuning separately).
    """
    if frames.is_meta:
        return editor
    digest = hashlib.sha256(frames.cpu().float().contiguous().numpy().tobytes())
    digest.update(json.dumps([fingerprint(editor), asdict(tuning), *texts], sort_keys=True).encode())

    def make() -> dict[str, Tensor]:
        return clip_weights(tune(with_clip_layers(editor, tuning.rank), frames, tuning, texts, progress))

    with torch.inference_mode(False):
        return with_clip_layers(editor, tuning.rank, user_cached("learned", digest.hexdigest(), make))


def tune(
    editor: Editor,
    frames: Tensor,
    tuning: Tuning,
    texts: Sequence[str] = (RARE,),
    progress: Progress | None = None,
) -> Editor:
    """Trains the editor's low-rank layers on the clean latents (frames, c, h, w), and returns it.

    `texts` is one for all frames or one for each. The clip's loss (equation 2) is that of the video model, over windows
    of its length; the frames' loss (equation 3) that of the backbone, which has no temporal layers. Both are errors of
    the velocity.
    """
    g = torch.Generator().manual_seed(tuning.seed)
    with torch.inference_mode(False), torch.enable_grad():
        frames = frames.clone()
        with torch.no_grad():
            embeddings = editor.embed(texts)
        optimizer = torch.optim.AdamW(clip_layers(editor), tuning.lr, weight_decay=0.0)
        for step in range(tuning.steps):
            loss = finetune_loss(editor, frames, embeddings, tuning, g)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if progress is not None:
                progress(step + 1, tuning.steps)
    return editor


def finetune_loss(editor: Editor, frames: Tensor, embeddings: Tensor, tuning: Tuning, g: torch.Generator) -> Tensor:
    """The loss of one step (equation 4); `embeddings` (1 or frames, tokens, dim) are those of the frames' captions."""
    length, loss = min(editor.settings.frames, len(frames)), torch.zeros((), device=frames.device)
    alpha = tuning.alpha if len(frames) > 1 else 0.0
    if alpha > 0:
        start = int(torch.randint(len(frames) - length + 1, (), generator=g))
        clip = frames[None, start : start + length]
        with sparsely(editor.video, length) if tuning.sparse else nullcontext():
            clip_loss = _error(editor.schedule, clip, lambda x, t: editor.clean_video(x, t, embeddings[:1], None), g)
        loss = alpha * clip_loss
    if alpha < 1:
        some = torch.randperm(len(frames), generator=g)[:length].to(frames.device)
        text = embeddings[some] if len(embeddings) == len(frames) else embeddings.expand(len(some), -1, -1)
        frame_loss = _error(editor.image_schedule, frames[some], lambda x, t: editor.clean_image(x, t, text), g)
        loss = loss + (1 - alpha) * frame_loss
    return loss


@contextmanager
def sparsely(unet: nn.Module | None, frames: int) -> Iterator[None]:
    """In a video model places attend to those of the first frame and of the one before (Wu et al. 2023, equation 3)."""
    names = [] if unet is None else attention.named(unet, attention.SELF)
    before = [0, *range(frames - 1)]

    def attended(part: Tensor) -> Tensor:
        clips = part.unflatten(0, (-1, frames))
        return torch.cat([clips[:, :1].expand_as(clips), clips[:, before]], 3).flatten(0, 1)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attention.plain(query, attended(key), attended(value))

    with attention.attending(unet, dict.fromkeys(names, attend)) if unet is not None else nullcontext():
        yield


def _error(
    schedule: Schedule, clean: Tensor, denoise: Callable[[Tensor, Tensor], Tensor], g: torch.Generator
) -> Tensor:
    """Mean squared error of the velocity of rows (n, ...) at chance times, each with its own."""
    t = torch.randint(schedule.steps, (len(clean),), generator=g).to(clean.device)
    noise = torch.randn(clean.shape, generator=g).to(clean)
    sigma = schedule.at(t, clean)[1].clamp_min(LEAST_SIGMA)
    return ((denoise(schedule.add_noise(clean, noise, t), t).float() - clean) / sigma).square().mean()
