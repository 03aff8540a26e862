"""Encoders of the world: a small CLIP and a small ViCLIP, trained to match clips and captions."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from eve_cli.data.batches import Source
from eve_cli.data.world.variants import ATTRIBUTES, FRAMES, draw, retrieval, variants
from eve_cli.models.parts import Parts
from eve_cli.perception import viclip_encoders
from eve_cli.perception.clip import Clip, features
from eve_cli.perception.viclip import Viclip, ViclipSizes
from eve_cli.perception.viclip_encoders import ViclipEncoder
from eve_cli.perception.viclip_inputs import IMAGENET, OPENAI, every_step
from eve_cli.training.pool import Pool, Rows, pool_seed
from eve_cli.training.recipe import Batch, generator

SIDE = 64
CHUNK = 256  # pairs in a chunk of the pool
MAX_SCALE = 50.0  # of cosines
GATE = 0.9  # accuracy that an attribute needs to be scored
TRIALS = 100  # clips per attribute for that accuracy
GATES_FILE = "gates.json"


@dataclass(frozen=True)
class EncoderSizes:
    """Widths and depths of both encoders."""

    width: int = 128
    layers: int = 4
    heads: int = 4
    patch: int = 8
    video_width: int = 96
    video_layers: int = 4
    video_frames: int = 4
    text_layers: int = 2
    embed: int = 96


class EncodersRecipe:
    """Contrastive learning (Radford et al. 2021) with hard negatives in every batch.

    A batch holds pairs of clips that differ in one attribute. CLIP reads one frame of each clip, ViCLIP the clip.
    """

    name = "encoders"
    progress = 0.0

    def __init__(
        self, parts: Parts, batch: int, seed: int = 0, source: Source | None = None, sizes: EncoderSizes | None = None
    ) -> None:
        self.parts, self.count, self.seed = parts, max(1, batch // 2), seed
        sizes = sizes or EncoderSizes()
        self.tokenizer = parts.tokenizer
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.clip = small_clip(sizes, self.tokenizer, parts.settings.text_tokens)
            self.viclip = small_viclip(sizes, self.tokenizer, parts.settings.text_tokens)
        self.modules: dict[str, nn.Module] = {"clip": self.clip, "viclip": self.viclip}
        self.pool = Pool(self._draw, chunks=12, every=40)

    def parameters(self) -> Iterable[nn.Parameter]:
        return [p for module in self.modules.values() for p in module.parameters()]

    def _draw(self, number: int) -> Rows:
        rng = random.Random(pool_seed(self.seed, number, 11))
        start = rng.randrange(FRAMES)
        numbers = range(start, start + FRAMES)
        names = [rng.choice(list(ATTRIBUTES)) for _ in range(min(CHUNK, 32 * self.count))]
        pairs = [rng.sample(variants(rng.randrange(2**40), name, numbers), 2) for name in names]
        flat = [row for pair in pairs for row in pair]
        clips = (draw(flat, numbers, SIDE) * 255).round().to(torch.uint8)
        ids = self.parts.tokens([row.caption for row in flat])
        return {
            "clips": clips.view(len(names), 2, *clips.shape[1:]),
            "ids": ids.view(len(names), 2, -1),
            "moves": torch.tensor([name == "motion" for name in names]),
        }

    def batch(self, step: int, rank: int) -> Batch:
        g = generator(self.seed, rank, step, 12)
        rows = self.pool.rows(step, self.count, g)
        frame = torch.randint(FRAMES, (1,), generator=g)
        return {"clips": rows["clips"].flatten(0, 1), "ids": rows["ids"].flatten(0, 1), "moves": rows["moves"]} | {
            "frame": frame
        }

    def step(self, batch: Batch) -> dict[str, Tensor]:
        clips, ids = batch["clips"].float() / 255, batch["ids"]
        frames = normalised(clips[:, int(batch["frame"])], OPENAI)
        visual = features(self.clip.get_image_features(pixel_values=frames))
        text = features(self.clip.get_text_features(input_ids=ids))
        clip, clip_pair, clip_accuracy = contrast(visual, text, self.clip.logit_scale.exp(), ~batch["moves"])
        indices = every_step(clips.shape[1], self.viclip.sizes.frames)
        visual = self.viclip.encode_clips(normalised(clips[:, indices], IMAGENET))
        every = torch.ones_like(batch["moves"])
        viclip, viclip_pair, viclip_accuracy = contrast(
            visual, self.viclip.encode_texts(ids), 1 / self.viclip.temp, every
        )
        return {
            "clip": clip,
            "clip_pair": clip_pair,
            "viclip": viclip,
            "viclip_pair": viclip_pair,
            "_clip_accuracy": clip_accuracy,
            "_viclip_accuracy": viclip_accuracy,
        }

    def preview(self, step: int) -> Tensor | None:
        return None

    @torch.no_grad()
    def save(self, path: Path, record: Mapping[str, Any]) -> Path:
        """Writes both in the layouts of the released ones, with their retrieval accuracy on held-out clips."""
        out = path / "encoders"
        save_clip(self.clip, self.tokenizer, self.parts.settings.text_tokens, out / "clip")
        viclip_encoders.save(self.viclip.float(), self.tokenizer, out / "viclip")
        for name, score in scorers(out).items():
            accuracy = {attribute: retrieval(score, attribute, TRIALS) for attribute in ATTRIBUTES}
            rows = {
                a: {"right": round(r, 4), "chance": round(c, 4), "passed": r >= GATE} for a, (r, c) in accuracy.items()
            }
            gates = {"gate": GATE, "trials": TRIALS, "attributes": rows, "training": dict(record)}
            (out / name / GATES_FILE).write_text(json.dumps(gates, indent=1) + "\n", encoding="utf-8")
        return out


def scorers(out: Path) -> dict[str, Callable[[Tensor, list[str]], Tensor]]:
    """Functions by name that score texts for uint8 frames, with the encoders loaded from their folder."""
    clip = Clip.load(out / "clip")
    sizes = viclip_encoders.sizes_of(out / "viclip")
    assert sizes is not None
    viclip = ViclipEncoder.load(out / "viclip" / "model.safetensors", sizes)
    return {
        "clip": lambda frames, texts: (clip.encode_frames(frames) @ clip.encode_texts(texts).T).mean(0),
        "viclip": lambda frames, texts: (viclip.encode_frames(frames) @ viclip.encode_texts(texts).T)[0],
    }


def contrast(visual: Tensor, text: Tensor, scale: Tensor, separable: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The symmetric contrastive loss over the batch; the same within each separable pair; and the accuracy there.

    ``visual`` and ``text`` (2 n, dim), of which 2 i and 2 i + 1 are a pair; ``separable`` (n,): whether the encoder can
    distinguish the two at all.
    """
    scores = (
        F.normalize(visual.float(), dim=-1) @ F.normalize(text.float(), dim=-1).T * scale.float().clamp(1, MAX_SCALE)
    )
    targets = torch.arange(len(scores), device=scores.device)
    batch_loss = (F.cross_entropy(scores, targets) + F.cross_entropy(scores.T, targets)) / 2
    blocks = (
        scores.unflatten(0, (-1, 2)).unflatten(2, (-1, 2)).diagonal(dim1=0, dim2=2)
    )  # (2, 2, n): visual, text, pair
    answer = torch.tensor([0, 1], device=scores.device).unsqueeze(1).expand(2, blocks.shape[-1])
    each = F.cross_entropy(blocks.transpose(0, 1), answer, reduction="none")  # over texts
    each = each + F.cross_entropy(blocks, answer, reduction="none")  # over clips
    weight = separable.float().expand_as(each)
    correct = (blocks.transpose(0, 1).argmax(0) == answer).float()
    count = weight.sum().clamp_min(1)
    return batch_loss, (each * weight).sum() / count / 2, ((correct * weight).sum() / count).detach()


def normalised(frames: Tensor, statistics: tuple[Any, Any]) -> Tensor:
    mean, std = (frames.new_tensor(row).view(3, 1, 1) for row in statistics)
    return (frames - mean) / std


def small_clip(sizes: EncoderSizes, tokenizer: Any, context: int) -> CLIPModel:
    """An untrained CLIP for frames of 64 x 64 and the world's vocabulary."""
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": sizes.embed,
        "intermediate_size": 4 * sizes.embed,
        "num_hidden_layers": sizes.text_layers,
        "num_attention_heads": sizes.heads,
        "max_position_embeddings": context,
    }
    vision = {
        "hidden_size": sizes.width,
        "intermediate_size": 4 * sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "image_size": SIDE,
        "patch_size": sizes.patch,
    }
    return CLIPModel(CLIPConfig(text_config=text | ids, vision_config=vision, projection_dim=sizes.embed))  # pyright: ignore


def small_viclip(sizes: EncoderSizes, tokenizer: Any, context: int) -> Viclip:
    """An untrained ViCLIP for clips of 64 x 64 and the world's vocabulary."""
    assert tokenizer.eos_token_id == len(tokenizer) - 1, "ViCLIP reads the last token as the end of a text"
    viclip_sizes = ViclipSizes(
        width=sizes.video_width,
        layers=sizes.video_layers,
        heads=sizes.heads,
        patch=sizes.patch,
        side=SIDE,
        frames=sizes.video_frames,
        text_width=sizes.embed,
        text_layers=sizes.text_layers,
        text_heads=sizes.heads,
        context=context,
        vocabulary=len(tokenizer),
        embed=sizes.embed,
    )
    model = Viclip(replace(viclip_sizes))
    with torch.no_grad():
        model.temp.fill_(0.07)
    return model


def save_clip(model: CLIPModel, tokenizer: Any, context: int, folder: Path) -> None:
    """Writes a CLIP in the layout of a released one, in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = CLIPModel(model.config)
    copy.load_state_dict(model.state_dict())
    copy.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    side = {"height": SIDE, "width": SIDE}
    processor = {"crop_size": side, "size": {"shortest_edge": SIDE}, "resample": 3, "rescale_factor": 1 / 255}
    processor |= {"image_mean": OPENAI[0], "image_std": OPENAI[1]}
    processor |= {f"do_{part}": True for part in ("resize", "center_crop", "rescale", "normalize", "convert_rgb")}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=1) + "\n", encoding="utf-8")
