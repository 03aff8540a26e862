"""The codec: an autoencoder whose latents the other parts work in."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from eve_cli.data.world import feed
from eve_cli.models.families.mini import normalise_latents
from eve_cli.models.parts import Parts
from eve_cli.training.recipe import Batch, step_seed

KL_WEIGHT = 5e-5
THING_WEIGHT = 4.0


class CodecRecipe:
    """Reconstruction with a light pull of the latents towards a normal distribution; more weight where things are.

    The extra weight falls away in the last third, so that the final optimum is the plain one.
    """

    name = "codec"
    progress = 0.0

    def __init__(self, parts: Parts, batch: int, seed: int = 0, photos: Tensor | None = None, photo_share: float = 0.25):
        self.parts, self.count, self.seed = parts, batch, seed
        self.photos, self.photo_share = photos, photo_share
        self.codec = parts.codec.requires_grad_(True)
        self.modules: dict[str, nn.Module] = {"codec": self.codec}

    def parameters(self) -> Iterable[nn.Parameter]:
        return self.codec.parameters()

    def batch(self, step: int, rank: int) -> Batch:
        drawn = feed.pictures(
            step_seed(self.seed, rank, step), self.count, self.parts.settings.pixels, self.photos, self.photo_share
        )
        return {"frames": drawn.frames, "weight": drawn.weight}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        frames = (batch["frames"] * 2 - 1).to(memory_format=torch.channels_last)
        posterior = self.codec.encode(frames).latent_dist  # pyright: ignore
        output = self.codec.decode(posterior.sample()).sample.float()  # pyright: ignore
        extra = THING_WEIGHT if self.progress < 0.67 else 0.0
        weight = 1 + extra * batch["weight"].unsqueeze(1)
        error = output - frames
        square = error.square()
        kl = 0.5 * (posterior.mean.float().square() + posterior.var.float() - 1 - posterior.logvar.float())
        return {
            "square": (square * weight).mean(),
            "absolute": 0.1 * (error.abs() * weight).mean(),
            "kl": KL_WEIGHT * kl.mean(),
            "_psnr": 10 * torch.log10(4 / square.mean().detach()),
        }

    def preview(self, step: int) -> Tensor | None:
        frames = self.batch(0, 999)["frames"][:16].to(next(self.codec.parameters()).device)
        output = self.codec(frames * 2 - 1).sample.float() / 2 + 0.5  # pyright: ignore
        both = torch.cat([frames, output.clamp(0, 1)])
        return torch.cat([torch.cat(list(both[i : i + 8]), 2) for i in range(0, len(both), 8)], 1)

    @torch.no_grad()
    def conclude(self) -> None:
        """Gives the latents mean 0 and deviation 1 per channel, over 2,048 fresh pictures."""
        device = next(self.codec.parameters()).device
        rows = []
        for i in range(2048 // self.count + 1):
            frames = self.batch(i, 998)["frames"].to(device) * 2 - 1
            rows.append(self.codec.encode(frames).latent_dist.mean.float())  # pyright: ignore
        latents = torch.cat(rows)
        normalise_latents(self.codec, latents.mean((0, 2, 3)), latents.std((0, 2, 3)))
