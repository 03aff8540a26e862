"""Fine-tuning on one clip: low-rank layers that the backbone and the video model share."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from eve_cli.errors import ModelError
from eve_cli.models import low_rank
from eve_cli.models.editor import Editor
from eve_cli.models.share_weights import share_weights, shared_unet

NAME = "clip"


def with_clip_layers(editor: Editor, rank: int, weights: Mapping[str, Tensor] | None = None) -> Editor:
    """An editor whose backbone and video model have low-rank layers; all else, weights too, is the given editor's.

    The layers on spatial attention are the same Parameters in both networks; those on temporal attention are in the
    video model alone, so that training on single frames cannot change them (Dreamix, section 4.2: there the temporal
    layers are masked). Without `weights` the layers are fresh and change nothing. ModelError without a video adapter.
    """
    if editor.parts.video is None:
        raise ModelError(f"The model {editor.settings.name} has no video adapter: choose a model that has one.")
    tuned = copy.copy(editor)
    tuned.video = editor.shared_motion_unet()
    tuned.backbone = tuned.lora_unet = shared_unet(editor.parts.backbone)
    low_rank.add(tuned.backbone, NAME, rank, "attention")
    if weights is None:
        low_rank.add(tuned.video, NAME, rank, "attention+motion")
    else:
        low_rank.attach(tuned.video, NAME, weights)
    for parameter in clip_layers(tuned):
        parameter.data = parameter.data.float()  # half precision would lose small steps
    share_weights(tuned.backbone, tuned.video)
    return tuned


def clip_layers(editor: Editor) -> list[nn.Parameter]:
    """The low-rank parameters of `with_clip_layers`, those of both networks, each once."""
    assert editor.video is not None
    return low_rank.parameters(editor.video, NAME)


def clip_weights(editor: Editor) -> dict[str, Tensor]:
    """The low-rank weights, as `with_clip_layers` takes them."""
    assert editor.video is not None
    return {name: value.detach().cpu() for name, value in low_rank.weights(editor.video, NAME).items()}


def fingerprint(editor: Editor) -> str:
    """A hash of some numbers of each layer of the video model, the vae and the text encoder."""
    digest = hashlib.sha256()
    for module in (editor.video, editor.parts.vae, editor.parts.text_encoder):
        for name, value in [] if module is None else module.state_dict().items():
            digest.update(f"{name} {tuple(value.shape)}".encode())
            digest.update(value.flatten()[:64].to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()
