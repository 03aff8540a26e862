"""A LoRA: low-rank layers on the backbone's attention for a subject or a style (EVE, section 4.4)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eve_cli.data import folders
from eve_cli.data.batches import Source
from eve_cli.diffusion.samplers import ddim
from eve_cli.models import bundle, bundle_manifest, lora
from eve_cli.models.lora import Kind, Lora
from eve_cli.models.parts import Parts
from eve_cli.models.share_weights import shared_unet
from eve_cli.training.crops import CROPS, crops
from eve_cli.training.pool import Pool, Rows, pool_seed
from eve_cli.training.recipe import Batch, generator
from eve_cli.training.recipes import common

CHUNK = 512
PREVIEW_PICTURES = 8


class LoraRecipe(common.LatentRecipe):
    """Velocity prediction of a few pictures by a copy of the frozen backbone with low-rank layers.

    `prior` is the share of a batch that comes from the source, for prior preservation (DreamBooth, Ruiz et al. 2023,
    with real pictures in place of generated ones).
    """

    name = "lora"

    def __init__(
        self,
        parts: Parts,
        batch: int,
        seed: int = 0,
        source: Source | None = None,
        *,
        images: Path,
        token: str,
        kind: Kind = "subject",
        rank: int = 8,
        prior: float = 0.0,
        model: str | Path,
    ) -> None:
        super().__init__(parts, batch, seed, source, CHUNK)
        self.token, self.model = token, model
        self.kind: Kind = kind
        self.pictures, self.captions = crops(folders.pictures([images], "8 to 16"), token, kind, parts.settings.pixels)
        self.latents, self.ids = common.encode(self.editor, self.pictures), parts.tokens(self.captions)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.editor.lora_unet = shared_unet(parts.backbone)
            self.modules = {"lora": nn.ParameterList(lora.add(self.editor.lora_unet, rank))}
        self.prior_rows = min(round(prior * batch), batch - 1)
        self.pool = Pool(self._draw, chunks=4) if self.prior_rows else None

    def note(self) -> str:
        """Nothing: the pictures are all in memory."""
        return ""

    def _draw(self, number: int) -> Rows:
        samples = self.source.pictures(pool_seed(self.seed, number, 7), self.chunk, self.parts.settings.pixels)
        return {"latents": common.encode(self.editor, samples.frames), "ids": self.parts.tokens(samples.texts)}

    def batch(self, step: int, rank: int) -> Batch:
        g = generator(self.seed, rank, step, 8)
        indices = torch.randint(len(self.latents), (self.count - self.prior_rows,), generator=g)
        rows = {"latents": self.latents[indices], "ids": self.ids[indices]}
        if self.pool is not None:
            prior = self.pool.rows(step, self.prior_rows, g)
            rows = {name: torch.cat([value, prior[name]]) for name, value in rows.items()}
        return rows | {
            "noise": torch.randn(rows["latents"].shape, generator=g),
            "t": common.noisy_times(self.count, self.editor.image_schedule.steps, g, 1.3),
        }

    def step(self, batch: Batch) -> dict[str, Tensor]:
        schedule, t = self.editor.image_schedule, batch["t"]
        noisy = schedule.add_noise(batch["latents"], batch["noise"], t).to(memory_format=torch.channels_last)
        with torch.no_grad():
            text = self.parts.text_encoder(batch["ids"]).last_hidden_state
        out = self.editor.lora_unet(noisy, t, encoder_hidden_states=text).sample.float()
        error = (out - schedule.target(batch["latents"], batch["noise"], t)).square().mean((1, 2, 3))
        parts = {"_pictures": error[: -self.prior_rows], "_prior": error[-self.prior_rows :]} if self.prior_rows else {}
        return {"velocity": error.mean()} | {name: value.mean().detach() for name, value in parts.items()}

    def warnings(self, means: Mapping[str, float]) -> list[str]:
        """Warns if the tokenizer splits a subject's token; edit adapters ignore words that they were not trained on."""
        pieces = max((self.parts.tokenizer.tokenize(word) for word in self.token.split()), key=len)
        if self.kind != "subject" or len(pieces) < 2:
            return []
        return [
            f"this model's tokenizer splits {self.token!r} into pieces, so edits may not follow it; choose one letter "
            'and a noun, such as --token "a z ball".'
        ]

    def preview(self, step: int) -> Tensor | None:
        """The pictures, samples from their captions, and samples from the captions without the token."""
        wholes = range(0, len(self.captions), CROPS)[:PREVIEW_PICTURES]
        captions = [self.captions[i] for i in wholes]
        without = [" ".join(text.replace(self.token, " ").split()) for text in captions]
        text = self.editor.embed(captions + without)
        one = torch.randn(self.latents[wholes.start : 1].shape, generator=torch.Generator().manual_seed(0))
        denoise = self.editor.guided_image(text, with_lora=True)
        schedule = self.editor.image_schedule
        noise = one.to(self.editor.device).expand(len(text), -1, -1, -1)
        samples = self.editor.decode(ddim(denoise, schedule, noise, schedule.trailing(10))).cpu()
        return common.sheet([self.pictures[list(wholes)], *samples.split(len(captions))])

    def save(self, path: Path, record: Mapping[str, Any]) -> Path:
        """Writes the LoRA into a run's folder."""
        base = bundle_manifest.read(bundle.resolve(self.model))
        name = str(base.settings.get("name", self.model))
        weights = {key: tensor.detach() for key, tensor in lora.weights(self.editor.lora_unet).items()}
        return lora.save(Lora(weights, self.token, self.kind, name, base.backbone, record), path / "lora")
