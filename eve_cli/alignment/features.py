"""Frozen features that discriminators read: names and where each lives."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from eve_cli import registry
from eve_cli.errors import UsageError
from eve_cli.models.editor import Editor

FEATURES = {
    "backbone": "eve_cli.alignment.features:BackboneFeatures",
    "latents": "eve_cli.alignment.features:LatentFeatures",
    "dino": "eve_cli.alignment.features:DinoFeatures",
}
QUIET = 0.1  # noise level, as a share of the timesteps, at which the backbone reads latents


class Features(Protocol):
    """Features of latents (n, c, h, w): a list of (n, tokens, dim), differentiable by the latents.

    Nothing of it learns. `dims` holds the last dimension of each.
    """

    dims: tuple[int, ...]

    def __call__(self, latents: Tensor) -> list[Tensor]: ...


def open_features(name: str, editor: Editor) -> Features:
    """The features that `--features` names: `latents`, `backbone`, or `dino:FOLDER`."""
    kind, _, folder = name.partition(":")
    return registry.pick(FEATURES, kind, "features")(editor, folder)


class BackboneFeatures:
    """What the backbone's own encoder makes of latents, without a text: of use where DINO's photographs are none.

    Latents are read as they are, labelled with a little noise. (Adversarial heads on a frozen denoiser's encoder:
    Sauer et al. 2024, "Fast high-resolution image synthesis with latent adversarial diffusion distillation".)
    """

    def __init__(self, editor: Editor, folder: str = "") -> None:
        if folder:
            raise UsageError(f"--features backbone takes no folder, but was given {folder}.")
        self.editor, unet = editor, editor.backbone
        self.dims = (*unet.config["block_out_channels"], unet.config["block_out_channels"][-1])
        self.t = round(QUIET * editor.image_schedule.steps)

    def __call__(self, latents: Tensor) -> list[Tensor]:
        unet = self.editor.backbone
        t = torch.full((len(latents),), self.t, device=latents.device)
        alpha, _ = self.editor.image_schedule.at(t, latents)
        with torch.no_grad():
            words = self.editor.embed([""]).expand(len(latents), -1, -1).to(self.editor.dtype)
            time = unet.time_embedding(unet.time_proj(t).to(self.editor.dtype))
        hidden = unet.conv_in((alpha * latents).to(self.editor.dtype))
        found = []
        for block in unet.down_blocks:
            more = {"encoder_hidden_states": words} if getattr(block, "has_cross_attention", False) else {}
            hidden, levels = block(hidden_states=hidden, temb=time, **more)
            found.append(levels[-2] if len(levels) > 1 and block.downsamplers is not None else levels[-1])
        assert unet.mid_block is not None
        found.append(unet.mid_block(hidden, time, encoder_hidden_states=words))
        return [level.flatten(2).transpose(1, 2).float() for level in found]


class LatentFeatures:
    """The latents themselves, each place with its eight neighbours, whole and at half the size: blur shows here."""

    def __init__(self, editor: Editor, folder: str = "") -> None:
        if folder:
            raise UsageError(f"--features latents takes no folder, but was given {folder}.")
        channels = editor.backbone.config["in_channels"]
        self.dims = (9 * channels, 9 * channels)

    def __call__(self, latents: Tensor) -> list[Tensor]:
        return [
            F.unfold(F.pad(level, (1, 1, 1, 1), mode="replicate"), 3).transpose(1, 2)
            for level in (latents.float(), F.avg_pool2d(latents.float(), 2))
        ]


class DinoFeatures:
    """DINOv2's view of the decoded frames, as in Adversarial Diffusion Distillation."""

    def __init__(self, editor: Editor, folder: str = "") -> None:
        from eve_cli.perception.dino import Dino

        if not folder:
            raise UsageError("--features dino needs a folder with DINOv2's weights: dino:FOLDER.")
        self.editor, self.dino = editor, Dino.load(Path(folder).expanduser(), editor.device, editor.dtype)
        self.dims = self.dino.dims

    def __call__(self, latents: Tensor) -> list[Tensor]:
        return self.dino(self.editor.decode(latents, clamp=False))
