"""Frozen features for the discriminators, by name."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eve_cli import registry
from eve_cli.errors import UsageError
from eve_cli.models.editor import Editor
from eve_cli.storage.paths import expanded

FEATURES = {
    "backbone": "eve_cli.alignment.features:BackboneFeatures",
    "latents": "eve_cli.alignment.features:LatentFeatures",
    "dino": "eve_cli.alignment.features:DinoFeatures",
}
TIMESTEP = 0.1  # of the backbone's features, as a share of all timesteps


class Features(Protocol):
    """Features of latents (n, c, h, w): a list of (n, tokens, dim), differentiable by the latents.

    Its weights are frozen. `dims` holds the last dimension of each level.
    """

    dims: tuple[int, ...]

    def to(self, device: torch.device) -> None:
        """Moves what it holds beside the editor."""
        ...

    def __call__(self, latents: Tensor) -> list[Tensor]: ...


def open_features(name: str, editor: Editor) -> Features:
    """The features of `--features`: `latents`, `backbone`, or `dino:FOLDER`; UsageError for other names."""
    kind, _, folder = name.partition(":")
    return registry.pick(FEATURES, kind, "features")(editor, folder)


class _OfEditor:
    """Features without weights beside the editor's, which are moved with it."""

    def to(self, device: torch.device) -> None:
        """Nothing to move."""


class BackboneFeatures(_OfEditor):
    """Activations of the backbone's encoder for latents with an empty text, for images unlike DINO's photographs.

    The latents are clean; the timestep is a low one. (Adversarial heads on a frozen denoiser's encoder: Sauer et al.
    2024, "Fast high-resolution image synthesis with latent adversarial diffusion distillation".)
    """

    def __init__(self, editor: Editor, folder: str = "") -> None:
        if folder:
            raise UsageError(f"--features backbone takes no folder, not {folder}.")
        self.editor, unet = editor, editor.backbone
        self.dims = (*unet.config["block_out_channels"], unet.config["block_out_channels"][-1])
        self.t = round(TIMESTEP * editor.image_schedule.steps)

    def __call__(self, latents: Tensor) -> list[Tensor]:
        unet = self.editor.backbone
        t = torch.full((len(latents),), self.t, device=latents.device)
        alpha, _ = self.editor.image_schedule.at(t, latents)
        with torch.no_grad():
            text = self.editor.embed([""]).expand(len(latents), -1, -1).to(self.editor.dtype)
            time = unet.time_embedding(unet.time_proj(t).to(self.editor.dtype))
        hidden = unet.conv_in((alpha * latents).to(self.editor.dtype))
        activations = []
        for block in unet.down_blocks:
            condition = {"encoder_hidden_states": text} if getattr(block, "has_cross_attention", False) else {}
            hidden, levels = block(hidden_states=hidden, temb=time, **condition)
            activations.append(levels[-2] if len(levels) > 1 and block.downsamplers is not None else levels[-1])
        assert unet.mid_block is not None
        activations.append(unet.mid_block(hidden, time, encoder_hidden_states=text))
        return [level.flatten(2).transpose(1, 2).float() for level in activations]


class LatentFeatures(_OfEditor):
    """Patches of 3 x 3 latents, at full and at half resolution; blur shows in them."""

    def __init__(self, editor: Editor, folder: str = "") -> None:
        if folder:
            raise UsageError(f"--features latents takes no folder, not {folder}.")
        channels = editor.backbone.config["in_channels"]
        self.dims = (9 * channels, 9 * channels)

    def __call__(self, latents: Tensor) -> list[Tensor]:
        return [
            F.unfold(F.pad(level, (1, 1, 1, 1), mode="replicate"), 3).transpose(1, 2)
            for level in (latents.float(), F.avg_pool2d(latents.float(), 2))
        ]


class DinoFeatures:
    """DINOv2's features of the decoded frames, as in Adversarial Diffusion Distillation."""

    def __init__(self, editor: Editor, folder: str = "") -> None:
        from eve_cli.perception.dino import Dino

        if not folder:
            raise UsageError("--features dino needs a folder with DINOv2's weights: dino:FOLDER.")
        self.editor, self.dino = editor, Dino.load(expanded(folder), editor.device, editor.dtype)
        self.dims = self.dino.dims

    def to(self, device: torch.device) -> None:
        """Moves DINOv2."""
        nn.Module.to(self.dino.model, device)

    def __call__(self, latents: Tensor) -> list[Tensor]:
        return self.dino(self.editor.decode(latents, clamp=False))
