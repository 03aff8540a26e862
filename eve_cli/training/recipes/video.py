"""The video adapter: temporal layers conditioned on the first frame (Emu Video; EVE, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eve_cli.data.batches import Source
from eve_cli.diffusion.samplers import ddim
from eve_cli.models.parts import Parts
from eve_cli.training.pool import Pool, Rows, pool_seed
from eve_cli.training.recipe import Batch, generator
from eve_cli.training.recipes import common

CHUNK = 192
NOISE_BIAS = 2.0
PREVIEW_SEED = 20_000_001
FIRST_DROPPED = 0.1
TEXT_DROPPED = 0.15
FLICKER_WEIGHT = 0.5  # weight of errors that change over time


class VideoRecipe(common.LatentRecipe):
    """Velocity prediction of clips by the frozen backbone with temporal layers; edits are not among the data."""

    name = "video"

    def __init__(self, parts: Parts, batch: int, seed: int = 0, source: Source | None = None) -> None:
        super().__init__(parts, batch, seed, source, CHUNK)
        assert parts.video is not None
        self.modules = {"video": parts.video.requires_grad_(True)}
        self.pool = Pool(self._draw, chunks=12, every=60)

    @property
    def frames(self) -> int:
        return self.parts.settings.frames

    @property
    def networks(self) -> tuple[nn.Module | None, ...]:
        return self.editor.video, self.parts.sparse

    def _draw(self, number: int) -> Rows:
        settings = self.parts.settings
        clips = self.source.clips(pool_seed(self.seed, number, 5), self.chunk, settings.frames, settings.pixels)
        latents = common.encode(self.editor, clips.frames.flatten(0, 1))
        return {
            "latents": latents.view(self.chunk, settings.frames, *latents.shape[1:]),
            "ids": self.parts.tokens(clips.texts),
        }

    def batch(self, step: int, rank: int) -> Batch:
        g = generator(self.seed, rank, step, 6)
        rows = self.pool.rows(step, self.count, g)
        dropped = torch.rand(self.count, generator=g) < TEXT_DROPPED
        order = torch.rand(self.count, generator=g)
        return {
            "latents": rows["latents"],
            "ids": common.blank(rows["ids"], self.empty, dropped),
            "without_first": order.argsort()[: round(FIRST_DROPPED * self.count)],
            "noise": torch.randn(rows["latents"].shape, generator=g),
            "t": common.noisy_times(self.count, self.parts.schedule.steps, g, NOISE_BIAS),
        }

    def step(self, batch: Batch) -> dict[str, Tensor]:
        schedule, t, latents = self.editor.schedule, batch["t"], batch["latents"]
        # rows without a first frame go last: the editor takes fewer rows of `first` than of latents
        with_first = torch.ones(self.count, dtype=torch.bool, device="cpu")
        with_first[batch["without_first"].cpu()] = False
        order = torch.cat([with_first.nonzero().flatten(), batch["without_first"].cpu()]).to(latents.device)
        latents, t = latents[order], t[order]
        noisy = schedule.add_noise(latents, batch["noise"], t)
        if self.parts.sparse is not None:  # without it the first norm's input needs no gradient, and backward crashes
            noisy.requires_grad_(True)
        with torch.no_grad():
            text = self.parts.text_encoder(batch["ids"][order]).last_hidden_state
        clean = self.editor.clean_video(noisy, t, text, latents[: int(with_first.sum()), 0]).float()
        error = schedule.of_output(clean - latents, t)
        noisiest = (t > 0.9 * schedule.steps).float()
        return {
            "velocity": error.square().mean(),
            # errors that change from frame to frame look like flicker; for independent errors this equals `velocity`
            "flicker": FLICKER_WEIGHT * 0.5 * (error[:, 1:] - error[:, :-1]).square().mean(),
            "_clean_at_noisiest": ((clean - latents).square().mean((1, 2, 3, 4)) * noisiest).sum().detach()
            / noisiest.sum().clamp_min(1),
        }

    def preview(self, step: int) -> Tensor | None:
        settings = self.parts.settings
        clips = self.source.clips(PREVIEW_SEED, 5, settings.frames, settings.pixels)
        device = self.editor.device
        first = common.encode(self.editor, clips.frames[:, 0]).to(device)
        denoise = self.editor.guided_video(self.editor.embed(clips.texts), first, guidance_scale=1.0)
        shape = (len(first), settings.frames, *first.shape[1:])
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
        schedule = self.editor.schedule
        out = ddim(denoise, schedule, noise, schedule.trailing(10))
        samples = self.editor.decode(out.flatten(0, 1)).cpu().view(clips.frames.shape)
        return common.sheet([row for pair in zip(clips.frames, samples, strict=True) for row in pair])
