"""The backbone: a text-to-image UNet and its text encoder, trained together."""

from __future__ import annotations

import torch
from torch import Tensor

from eve_cli.data.batches import Source
from eve_cli.diffusion.guidance import combine
from eve_cli.diffusion.samplers import ddim
from eve_cli.models.parts import Parts
from eve_cli.training.pool import Pool, Rows, pool_seed
from eve_cli.training.recipe import Batch, generator
from eve_cli.training.recipes import common

THING_WEIGHT = 3.0
PLAIN_FROM = 0.7
TEXT_DROPPED = 0.1
CHUNK = 2048
PREVIEW_TEXTS = (
    "a red car on a beach",
    "a blue striped house in the snow",
    "a green tree in a city at night",
    "an orange balloon in the mountains at sunset",
    "a yellow bird in a forest in the rain",
    "a purple spotted ball in a meadow",
    "a red boat on the left and a blue house on the right in a desert",
    "make it snowy",
)


class BackboneRecipe(common.LatentRecipe):
    """Velocity prediction over latents of the world's frames and some photographs, with captions and instructions."""

    name = "backbone"

    def __init__(self, parts: Parts, batch: int, seed: int = 0, source: Source | None = None) -> None:
        super().__init__(parts, batch, seed, source, CHUNK)
        self.unet, self.encoder = parts.backbone.requires_grad_(True), parts.text_encoder.requires_grad_(True)
        self.modules = {"unet": self.unet, "text_encoder": self.encoder}
        self.pool = Pool(self._draw)

    def _draw(self, number: int) -> Rows:
        side = self.parts.settings.pixels
        samples = self.source.pictures(pool_seed(self.seed, number, 1), self.chunk, side)
        latents = common.encode(self.editor, samples.frames)
        return {
            "latents": latents,
            "ids": self.parts.tokens(samples.texts),
            "weight": common.shrink(samples.weight, latents.shape[-2:]),
        }

    def batch(self, step: int, rank: int) -> Batch:
        g = generator(self.seed, rank, step, 2)
        rows = self.pool.rows(step, self.count, g)
        dropped = torch.rand(self.count, generator=g) < TEXT_DROPPED
        return rows | {
            "ids": common.blank(rows["ids"], self.empty, dropped),
            "noise": torch.randn(rows["latents"].shape, generator=g),
            "t": common.noisy_times(self.count, self.editor.image_schedule.steps, g, 1.3),
        }

    def step(self, batch: Batch) -> dict[str, Tensor]:
        schedule, t = self.editor.image_schedule, batch["t"]
        noisy = schedule.add_noise(batch["latents"], batch["noise"], t).to(memory_format=torch.channels_last)
        text = self.encoder(batch["ids"]).last_hidden_state
        error = self.unet(noisy, t, encoder_hidden_states=text).sample.float() - schedule.target(
            batch["latents"], batch["noise"], t
        )
        extra = THING_WEIGHT if self.progress < PLAIN_FROM else 0.0
        return {"velocity": common.weighted(error, batch["weight"], extra), "_plain": error.square().mean().detach()}

    def preview(self, step: int) -> Tensor | None:
        device = next(self.unet.parameters()).device
        ids = self.parts.tokens([*PREVIEW_TEXTS, *[""] * len(PREVIEW_TEXTS)]).to(device)
        text = self.encoder(ids).last_hidden_state
        schedule = self.editor.image_schedule.to(device)

        def denoise(noisy: Tensor, t: Tensor) -> Tensor:
            out = self.unet(noisy.repeat(2, 1, 1, 1), t.repeat(2), encoder_hidden_states=text).sample.float()
            with_text, without = schedule.to_clean(noisy.repeat(2, 1, 1, 1), out, t.repeat(2)).chunk(2)
            return combine((2.5, -1.5), (with_text, without))

        side = self.parts.settings.pixels
        shape = (len(PREVIEW_TEXTS), self.unet.config["in_channels"], *self.editor.latent_size(side, side))
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
        return common.sheet([self.editor.decode(ddim(denoise, schedule, noise, schedule.trailing(15)))])
