"""Editors without weights: the vae is an area average, an edit is arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from eve_cli.diffusion.schedule import Schedule
from eve_cli.editing import pipeline
from eve_cli.editing.request import EditRequest
from eve_cli.models.loading import LoadedModel
from eve_cli.models.parts import BundleSettings
from eve_cli.models.spec import ModelSpec


@dataclass
class FakeEditor:
    """Latents are 8x8 averages of the frames in [-1, 1]; `edited` says what a source's latents become.

    `calls` notes each denoiser that was asked for; `noisy` mixes some of the noise into the edit, so that results
    depend on the seed and on the frame, as those of a network do.
    """

    gain: float = 1.0
    noisy: float = 0.0
    settings: BundleSettings = field(
        default_factory=lambda: BundleSettings(pixels=64, frames=8, steps=4, long="sequential")
    )
    schedule: Schedule = field(default_factory=Schedule.zero_snr)
    image_schedule: Schedule = field(default_factory=Schedule.zero_snr)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    fallbacks: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    video: None = None
    backbone: nn.Module = field(default_factory=nn.Module)
    lora_unet: nn.Module = field(default_factory=nn.Module)
    parts: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(edit=nn.Module(), video=nn.Module()))

    def encode(self, frames: Tensor) -> Tensor:
        return functional.avg_pool2d(frames * 2 - 1, 8)

    def decode(self, latents: Tensor) -> Tensor:
        return (functional.interpolate(latents, scale_factor=8.0, mode="bilinear") / 2 + 0.5).clamp(0, 1)

    def condition(self, instruction: Sequence[str], caption: Sequence[str] | None = None) -> SimpleNamespace:
        not_blank = torch.tensor([float(bool(text)) for text in instruction]).view(-1, 1, 1)
        return SimpleNamespace(text=not_blank, instruction=not_blank)

    def embed(self, texts: Sequence[str]) -> Tensor:
        return torch.zeros(len(texts), 1, 1)

    def replaced_words(self, text: str) -> dict[str, str]:
        return {word: "snowy" for word in text.split() if word == "wintry"}

    def frame_size(self, width: int, height: int) -> tuple[int, int]:
        return self.settings.frame_size(width, height, 8)

    def unread(self, text: str) -> str:
        return " ".join(text.split()[20:])

    def unknown_words(self, text: str) -> list[str]:
        return [word for word in text.split() if word == "snowy"]

    def edited(self, source: Tensor, noisy: Tensor) -> Tensor:
        return source * self.gain + noisy * self.noisy

    def clean_edit(self, noisy, t, text, instruction, source, task=None, *, with_lora=False):
        self.calls.append("asked")
        not_blank = instruction.repeat_interleave(len(noisy) // len(instruction), 0).view(-1, 1, 1, 1)
        return torch.where(not_blank > 0, self.edited(source, noisy), source)

    def guided_edit(
        self,
        text,
        instruction,
        source,
        task=None,
        *,
        guidance_scale=None,
        image_guidance_scale=None,
        with_lora=False,
        run=None,
    ):
        self.calls.append("edit")
        return lambda noisy, t: self.edited(source, noisy)

    def guided_student(
        self, text, instruction, source, first, task=None, *, guidance_scale=None, image_guidance_scale=None, run=None
    ):
        self.calls.append("student")
        return lambda noisy, t: self.edited(source, noisy)

    def clean_image(self, noisy, t, text):
        return self.edited(noisy, noisy)

    def clean_video(self, noisy, t, text, first):
        return self.edited(noisy, noisy)

    def guided_image(self, text, guidance_scale=None, *, with_lora=False, run=None):
        self.calls.append("image")
        return lambda noisy, t: self.edited(noisy, noisy)

    def guided_video(self, text, first, *, guidance_scale=None, first_cfg=1.0, run=None):
        self.calls.append("video")
        return lambda noisy, t: self.edited(noisy, noisy)


def fake_load(**options):
    """A loader for the session that gives a `FakeEditor`."""

    def load(spec: ModelSpec) -> LoadedModel:
        return LoadedModel(FakeEditor(**options), spec.name, {"weights": "0" * 64})  # type: ignore[arg-type]

    return load


def request(source: Path, output: Path, **values: Any) -> EditRequest:
    return EditRequest.of({"input": str(source), "instruction": "darker", "output": output, "seed": 3} | values, "test")


def edit(source: Path, output: Path, fake: dict[str, Any] | None = None, **values: Any) -> pipeline.EditResult:
    return pipeline.edit(request(source, output, **values), load=fake_load(**(fake or {})))
