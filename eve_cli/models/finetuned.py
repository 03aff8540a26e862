"""A model that learns one clip: low-rank layers that its image and its video tree share."""

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


class TunedEditor(Editor):
    """An editor whose backbone and video model have low-rank layers; all else, weights too, is the given editor's.

    The layers on spatial attention are the same Parameters in both trees; those on temporal attention are in the video
    tree alone, so that what the image tree learns cannot touch them (Dreamix, section 4.2: there the temporal layers
    are masked). Fresh layers change nothing.
    """

    def __init__(self, editor: Editor, rank: int, weights: Mapping[str, Tensor] | None = None) -> None:
        self.__dict__ = copy.copy(editor.__dict__)
        if editor.parts.video is None:
            raise ModelError(f"The model {editor.settings.name} has no video adapter: choose a model that has one.")
        self.video = editor.shared_motion_unet()
        self.backbone = self.lora_unet = shared_unet(editor.parts.backbone)
        low_rank.add(self.backbone, NAME, rank, "attention")
        if weights is None:
            low_rank.add(self.video, NAME, rank, "attention+motion")
        else:
            low_rank.attach(self.video, NAME, weights)
        for parameter in self.layers():
            parameter.data = parameter.data.float()  # small steps vanish in half precision
        share_weights(self.backbone, self.video)

    def layers(self) -> list[nn.Parameter]:
        """What can learn, of both trees; each once."""
        assert self.video is not None
        return low_rank.parameters(self.video, NAME)

    def weights(self) -> dict[str, Tensor]:
        """The low-rank weights, as `weights` takes them."""
        assert self.video is not None
        return {name: value.detach().cpu() for name, value in low_rank.weights(self.video, NAME).items()}


def fingerprint(editor: Editor) -> str:
    """A hash that tells apart models whose video model differs, or its backbone, from some numbers of each layer."""
    digest = hashlib.sha256()
    for module in (editor.video, editor.parts.vae, editor.parts.text_encoder):
        for name, value in [] if module is None else module.state_dict().items():
            digest.update(f"{name} {tuple(value.shape)}".encode())
            digest.update(value.flatten()[:64].to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()
