"""A small classifier of world pictures, used to evaluate generated pictures.

It is trained on true renderings only, some of them blurred and noisy as after a VAE.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from eve_cli.data.world.render import render
from eve_cli.data.world.scene import COLOURS, KINDS, PLACES, TEXTURES, TIMES, WEATHERS, Scene, sample_scene
from eve_cli.errors import ModelError

HEADS = {
    "present": len(KINDS),
    "colour": len(KINDS) * len(COLOURS),
    "texture": len(KINDS) * len(TEXTURES),
    "place": len(PLACES),
    "time": len(TIMES),
    "weather": len(WEATHERS),
}


@dataclass(frozen=True)
class Prediction:
    """The predicted attributes: ``present`` (n, kinds) is the probability of each kind; the others hold class numbers.

    ``colour`` and ``texture`` are (n, kinds), ``place``, ``time`` and ``weather`` (n,).
    """

    present: Tensor
    colour: Tensor
    texture: Tensor
    place: Tensor
    time: Tensor
    weather: Tensor


class Probe(nn.Module):
    """Pictures (n, 3, 64, 64) in [0, 1] to the attributes of the scene."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 192)
        self.body = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(a, b, 4, 2, 1), nn.GroupNorm(8, b), nn.SiLU(), nn.Conv2d(b, b, 3, 1, 1), nn.SiLU()
                )
                for a, b in pairwise(widths)
            )
        )
        self.join = nn.Linear(192 * 16, 256)
        self.heads = nn.ModuleDict({name: nn.Linear(256, size) for name, size in HEADS.items()})

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        hidden = F.silu(self.join(self.body(frames * 2 - 1).flatten(1)))
        out = {name: head(hidden) for name, head in self.heads.items()}
        out["colour"] = out["colour"].view(-1, len(KINDS), len(COLOURS))
        out["texture"] = out["texture"].view(-1, len(KINDS), len(TEXTURES))
        return out

    @torch.no_grad()
    def predict(self, frames: Tensor) -> Prediction:
        """The attributes of pictures (n, 3, 64, 64)."""
        parts = [self(piece) for piece in frames.split(256)]
        out = {name: torch.cat([p[name] for p in parts]) for name in HEADS}
        return Prediction(
            out["present"].sigmoid(), *(out[n].argmax(-1) for n in ("colour", "texture", "place", "time", "weather"))
        )

    @classmethod
    def load(cls, path: Path) -> Probe:
        """The probe of a safetensors file; ModelError if it is missing or of another shape."""
        probe = cls()
        try:
            probe.load_state_dict({k: v.float() for k, v in load_file(path).items()})
        except Exception as error:
            raise ModelError(
                f"{path}: no usable probe ({error}). Train one with benchmarks/mini.py --train-probe."
            ) from error
        return probe.eval()

    def save(self, path: Path) -> None:
        """Writes the weights in half precision."""
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.half().contiguous() for k, v in self.state_dict().items()}, path)


def truth(scenes: list[Scene]) -> dict[str, Tensor]:
    """The true attributes; ``colour`` and ``texture`` are -1 for kinds that are absent."""
    colour = torch.full((len(scenes), len(KINDS)), -1)
    texture = colour.clone()
    for i, scene in enumerate(scenes):
        for t in scene.things:
            colour[i, KINDS.index(t.kind)] = list(COLOURS).index(t.colour)
            texture[i, KINDS.index(t.kind)] = TEXTURES.index(t.texture)
    return {
        "present": (colour >= 0).float(),
        "colour": colour,
        "texture": texture,
        "place": torch.tensor([PLACES.index(s.place) for s in scenes]),
        "time": torch.tensor([TIMES.index(s.time) for s in scenes]),
        "weather": torch.tensor([WEATHERS.index(s.weather) for s in scenes]),
    }


def train(steps: int = 2500, batch: int = 64, seed: int = 0, report=print) -> Probe:
    """Trains a probe on renderings of all combinations of attributes."""
    torch.manual_seed(seed)
    probe, rng = Probe(), random.Random(f"probe {seed}")
    optimizer = torch.optim.AdamW(probe.parameters(), 1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    cache: list[tuple[Tensor, dict[str, Tensor]]] = []
    for step in range(steps):
        if step % 10 == 0:
            scenes = [sample_scene(rng.randrange(2**40, 2**41), held_out=None) for _ in range(batch * 4)]
            cache = [*cache[-15:], (render(scenes, [rng.randrange(32)]).frames[:, 0], truth(scenes))]
        frames, answers = cache[rng.randrange(len(cache))]
        pick = torch.randperm(len(frames))[:batch]
        frames, answers = degrade(frames[pick], rng), {k: v[pick] for k, v in answers.items()}
        out = probe(frames)
        loss = 3 * F.binary_cross_entropy_with_logits(out["present"], answers["present"])
        for name in ("place", "time", "weather"):
            loss = loss + 0.5 * F.cross_entropy(out[name], answers[name])
        for name in ("colour", "texture"):
            loss = loss + F.cross_entropy(out[name].flatten(0, 1), answers[name].flatten(), ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 250 == 0:
            report(f"probe step {step} loss {float(loss.detach()):.3f}")
    return probe.eval()


def degrade(frames: Tensor, rng: random.Random) -> Tensor:
    """Random blur and noise, as from a VAE or a sampler."""
    if rng.random() < 0.5:
        small = F.interpolate(frames, scale_factor=rng.choice((0.5, 0.67)), mode="bilinear", antialias=True)
        frames = torch.lerp(frames, F.interpolate(small, frames.shape[-2:], mode="bilinear"), rng.random())
    return (frames + rng.random() * 0.06 * torch.randn_like(frames)).clamp(0, 1)


def accuracies(prediction: Prediction, scenes: list[Scene]) -> dict[str, float]:
    """The share of correct predictions by attribute; "whole caption" is all objects in their colours."""
    t = truth(scenes)
    there = t["present"].bool()
    detected, coloured = prediction.present > 0.5, prediction.colour == t["colour"]
    recalled = detected[there]
    return {
        "thing": float(recalled.float().mean()),
        "colour": float(coloured[there & detected].float().mean()),
        "thing in its colour": float((detected & coloured)[there].float().mean()),
        "whole caption": float(((detected & coloured) | ~there).all(1).float().mean()),
        "texture": float((prediction.texture == t["texture"])[there & detected].float().mean()),
        **{n: float((getattr(prediction, n) == t[n]).float().mean()) for n in ("place", "time", "weather")},
    }
