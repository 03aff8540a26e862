"""The VAE, in whose latents the other parts work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from eve_cli.data.batches import Source, World
from eve_cli.models import vae
from eve_cli.models.parts import Parts
from eve_cli.training.recipe import Batch, step_seed

LATENT_NOISE = 0.1  # makes similar latents decode to similar pictures
LATENT_PULL = 2e-4  # keeps the latents from growing beyond that noise
THING_WEIGHT = 4.0
PICTURES = 512  # for the mean and scale of the latents


class VaeRecipe:
    """Reconstruction from slightly noisy latents, with more weight on objects in the first two thirds of a run."""

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
        samples = self.source.pictures(step_seed(self.seed, rank, step), self.count, self.parts.settings.pixels)
        return {"frames": samples.frames, "weight": samples.weight}

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
        """Orders the latent channels by how visible they are, and stores their mean and scale in the settings."""
        device = next(self.vae.parameters()).device
        images = torch.cat([self.batch(i, 998)["frames"] for i in range(-(-PICTURES // self.count))]).to(device) * 2 - 1
        vae.change_basis(self.vae, vae.visible_basis(self.vae, images))
        latents = torch.cat([vae.encode(self.vae, piece) for piece in images.split(64)])
        mean = latents.mean((0, 2, 3))
        scale = float((latents - mean.view(-1, 1, 1)).square().mean().sqrt())
        self.parts.settings = replace(
            self.parts.settings, latent_mean=tuple(mean.tolist()), latent_std=(scale,) * len(mean)
        )


class DecoderRecipe(VaeRecipe):
    """The VAE's decoder alone: latents do not change, so all other parts stay valid."""

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
        """Nothing: the latents did not change."""
