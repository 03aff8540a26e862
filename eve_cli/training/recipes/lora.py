"""A LoRA: low-rank layers on the backbone's attention that learn a subject or a style (EVE, section 4.4)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eve_cli.data import folders, frames
from eve_cli.data.batches import Source
from eve_cli.data.sample import Item
from eve_cli.diffusion.samplers import ddim
from eve_cli.models import bundle, bundle_manifest, lora
from eve_cli.models.lora import Kind, Lora
from eve_cli.models.parts import Parts
from eve_cli.models.share_weights import shared_unet
from eve_cli.training.pool import Pool, Rows
from eve_cli.training.recipe import Batch, generator, step_seed
from eve_cli.training.recipes import common

CHUNK = 512
VIEWS = 4  # cuts of each picture: the whole, and some a little closer
CLOSEST = 0.85
SHOWN = 8
DEFAULT_CAPTIONS: dict[Kind, str] = {"subject": "a photo of {}", "style": "a picture in the style of {}"}


class LoraRecipe(common.LatentRecipe):
    """Velocity prediction of a few pictures by the frozen backbone with low-rank layers, in a tree of its own.

    `prior` is the share of a batch that is drawn from the source, so that other words keep their meaning (DreamBooth,
    Ruiz et al. 2023, with true pictures in place of the model's own).
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
        self.pictures, self.captions = views(folders.pictures([images], "8 to 16"), token, kind, parts.settings.pixels)
        self.latents, self.ids = common.encode(self.editor, self.pictures), parts.tokens(self.captions)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.editor.lora_unet = shared_unet(parts.backbone)
            self.modules = {"lora": nn.ParameterList(lora.add(self.editor.lora_unet, rank))}
        self.kept = min(round(prior * batch), batch - 1)
        self.pool = Pool(self._draw, chunks=4) if self.kept else None

    def to(self, device: torch.device) -> None:
        super().to(device)
        self.editor.follow(device)

    def _draw(self, number: int) -> Rows:
        drawn = self.source.pictures(step_seed(self.seed, 0, number, 7), self.chunk, self.parts.settings.pixels)
        return {"latents": common.encode(self.editor, drawn.frames), "ids": self.parts.tokens(drawn.texts)}

    def batch(self, step: int, rank: int) -> Batch:
        g = generator(self.seed, rank, step, 8)
        chosen = torch.randint(len(self.latents), (self.count - self.kept,), generator=g)
        rows = {"latents": self.latents[chosen], "ids": self.ids[chosen]}
        if self.pool is not None:
            prior = self.pool.rows(step, self.kept, g)
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
        told = {"_pictures": error[: -self.kept], "_prior": error[-self.kept :]} if self.kept else {}
        return {"velocity": error.mean()} | {name: value.mean().detach() for name, value in told.items()}

    def warnings(self, told: Mapping[str, float]) -> list[str]:
        """That the model reads a subject's token in pieces: an edit adapter takes those for words it does not know."""
        pieces = max((self.parts.tokenizer.tokenize(word) for word in self.token.split()), key=len)
        if self.kind != "subject" or len(pieces) < 2:
            return []
        return [
            f"this model reads {self.token!r} in pieces, so that edits may not follow it; choose one letter beside "
            'what the subject is, such as --token "a z ball".'
        ]

    def preview(self, step: int) -> Tensor | None:
        """The pictures, what comes of their captions, and what comes of the captions without the token."""
        wholes = range(0, len(self.captions), VIEWS)[:SHOWN]
        captions = [self.captions[i] for i in wholes]
        without = [" ".join(text.replace(self.token, " ").split()) for text in captions]
        text = self.editor.embed(captions + without)
        one = torch.randn(self.latents[wholes.start : 1].shape, generator=torch.Generator().manual_seed(0))
        denoise = self.editor.guided_image(text, with_lora=True)
        schedule = self.editor.image_schedule
        noise = one.to(self.editor.device).expand(len(text), -1, -1, -1)
        made = self.editor.decode(ddim(denoise, schedule, noise, schedule.trailing(10))).cpu()
        return common.sheet([self.pictures[list(wholes)], *made.split(len(captions))])

    def save(self, path: Path, record: Mapping[str, Any]) -> Path:
        """Writes the LoRA into a run's folder."""
        base = bundle_manifest.read(bundle.resolve(self.model))
        name = str(base.settings.get("name", self.model))
        weights = {key: tensor.detach() for key, tensor in lora.weights(self.editor.lora_unet).items()}
        return lora.save(Lora(weights, self.token, self.kind, name, base.backbone, record), path / "lora")


def views(items: Sequence[Item], token: str, kind: Kind, side: int) -> tuple[Tensor, list[str]]:
    """Cuts (n * VIEWS, 3, side, side) in [0, 1] of n pictures, and their captions.

    A missing caption is made of the token, and one that lacks the token gets it behind a comma.
    """
    rng = random.Random(0)
    cuts, captions = [], []
    for item in items:
        picture = frames.read(item.path, short_side=2 * side)
        cuts += [frames.square(_closer(picture, rng) if number else picture, side) for number in range(VIEWS)]
        caption = item.caption or DEFAULT_CAPTIONS[kind].format(token)
        captions += [caption if token.casefold() in caption.casefold() else f"{caption}, {token}"] * VIEWS
    return torch.cat(cuts), captions


def _closer(picture: Tensor, rng: random.Random) -> Tensor:
    """A random part of a picture (1, 3, height, width), nearly all of it; never mirrored, since letters would be."""
    share = rng.uniform(CLOSEST, 1)
    height, width = (round(size * share) for size in picture.shape[-2:])
    top, left = rng.randint(0, picture.shape[-2] - height), rng.randint(0, picture.shape[-1] - width)
    return picture[..., top : top + height, left : left + width]
