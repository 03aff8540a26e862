"""The vae: an autoencoder whose latents the other parts work in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from eve_cli.data.batches import Source, World
from eve_cli.models import vae
from eve_cli.models.parts import Parts
from eve_cli.training.recipe import Batch, step_seed

LATENT_NOISE = 0.1  # keeps near latents near pictures
LATENT_PULL = 2e-4  # keeps the latents from outgrowing that noise
THING_WEIGHT = 4.0
PICTURES = 512  # that the latents are measured on


class CodecRecipe:
    """Reconstruction through slightly noisy latents; more weight where things are.

    The extra weight falls away in the last third, so that the final optimum is the plain one.
    """

    name = "vae"
    progress = 0.0

    def __init__(self, parts: Parts, batch: int, seed: int = 0, source: Source | None = None) -> None:
        self.parts, self.count, self.seed = parts, batch, seed
        self.source = source or World()
        parts.channels_last()
        self.vae = parts.vae.requires_grad_(True)
        self.modules: dict[str, nn.Module] = {"vae": self.vae}

    def parameters(self) -> Iterable[nn.Parameter]:
        return self.vae.parameters()

    def batch(self, step: int, rank: int) -> Batch:
        drawn = self.source.pictures(step_seed(self.seed, rank, step), self.count, self.parts.settings.pixels)
        return {"frames": drawn.frames, "weight": drawn.weight}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        frames = (batch["frames"] * 2 - 1).to(memory_format=torch.channels_last)
        latents = vae.encode(self.vae, frames)
        output = vae.decode(self.vae, latents + LATENT_NOISE * torch.randn_like(latents)).float()
        extra = THING_WEIGHT if self.progress < 0.67 else 0.0
        weight = 1 + extra * batch["weight"].unsqueeze(1)
        error = output - frames
        square = error.square()
        return {
            "square": (square * weight).mean(),
            "absolute": 0.1 * (error.abs() * weight).mean(),
            "pull": LATENT_PULL * latents.float().square().mean(),
            "_psnr": 10 * torch.log10(4 / square.mean().detach()),
        }

    def preview(self, step: int) -> Tensor | None:
        frames = self.batch(0, 999)["frames"][:16].to(next(self.vae.parameters()).device)
        output = vae.decode(self.vae, vae.encode(self.vae, frames * 2 - 1)).float() / 2 + 0.5
        both = torch.cat([frames, output.clamp(0, 1)])
        return torch.cat([torch.cat(list(both[i : i + 8]), 2) for i in range(0, len(both), 8)], 1)

    @torch.no_grad()
    def conclude(self) -> None:
        """Orders the latents by what one sees of them, and puts their mean and scale into the settings."""
        device = next(self.vae.parameters()).device
        images = torch.cat([self.batch(i, 998)["frames"] for i in range(-(-PICTURES // self.count))]).to(device) * 2 - 1
        vae.change_basis(self.vae, vae.visible_basis(self.vae, images))
        latents = torch.cat([vae.encode(self.vae, piece) for piece in images.split(64)])
        mean = latents.mean((0, 2, 3))
        scale = float((latents - mean.view(-1, 1, 1)).square().mean().sqrt())
        self.parts.settings = replace(
            self.parts.settings, latent_mean=tuple(mean.tolist()), latent_std=(scale,) * len(mean)
        )


class DecoderRecipe(CodecRecipe):
    """The vae's decoder alone: the latents, and with them every other part, stay valid."""

    name = "decoder"

    def __init__(self, parts: Parts, batch: int, seed: int = 0, source: Source | None = None) -> None:
        super().__init__(parts, batch, seed, source)
        self.vae.requires_grad_(False)
        self.modules = {"decoder": self.vae.decoder.requires_grad_(True)}

    def parameters(self) -> Iterable[nn.Parameter]:
        return self.vae.decoder.parameters()

    def to(self, device: torch.device) -> None:
        nn.Module.to(self.vae, device)

    def conclude(self) -> None:
        """Nothing: the scale of the latents is what it was."""
