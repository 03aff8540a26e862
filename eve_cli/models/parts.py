"""The parts of a model: its networks, tokenizer, schedules and settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from eve_cli.diffusion.schedule import Schedule
from eve_cli.models.config import BundleSettings
from eve_cli.tasks import TASKS, UNKNOWN_TASK

if TYPE_CHECKING:
    from diffusers import ControlNetModel, SparseControlNetModel, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    from eve_cli.models.adapters import VideoAdapter
    from eve_cli.models.vae import Vae


def task_labels(names: Sequence[str | None]) -> Tensor:
    """The label numbers (n,) of tasks; a name outside `TASKS` has the label for "unknown"."""
    return torch.tensor([TASKS.index(name) if name in TASKS else UNKNOWN_TASK for name in names])


@dataclass
class Parts:
    """The parts of one model; an adapter that a bundle lacks is None."""

    vae: Vae
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    backbone: UNet2DConditionModel
    edit: ControlNetModel | None = None
    instruction_encoder: CLIPTextModel | None = None
    video: VideoAdapter | None = None
    sparse: SparseControlNetModel | None = None
    """Reads the first frame where `settings.first_frame` is `sparse`."""
    domain: dict[str, Tensor] | None = None
    """Low-rank weights, by peft's names and with their scale in them, that the video adapter was trained with."""
    align: dict[str, Tensor] | None = None
    """Weights of the low-rank alignment of the student, by peft's names; scale 1 (alpha equals the rank)."""
    schedule: Schedule = field(default_factory=Schedule.zero_snr)
    """Of the video adapter, and so of the student."""
    image_schedule: Schedule | None = None
    """Of the backbone and the edit adapter, where it is another one."""
    settings: BundleSettings = field(default_factory=BundleSettings)

    def modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The parts that hold weights, by field name."""
        for name in ("vae", "text_encoder", "backbone", "edit", "instruction_encoder", "video", "sparse"):
            module = getattr(self, name)
            if module is not None:
                yield name, module

    @property
    def device(self) -> torch.device:
        """Where the backbone is, and with it the rest."""
        return next(self.backbone.parameters()).device

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Token numbers (n, text_tokens); what goes beyond is cut off."""
        return self.tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self.settings.text_tokens,
            return_tensors="pt",
        ).input_ids

    def channels_last(self) -> None:
        """Gives weights the memory layout in which convolutions are fastest (docs/experiments.md); values stay."""
        for _, module in self.modules():
            cast(Any, module).to(memory_format=torch.channels_last)

    def freeze(self) -> Parts:
        """Switches all parts to evaluation without gradients; `requires_grad_(True)` makes one trainable again."""
        for _, module in self.modules():
            module.requires_grad_(False).eval()
        return self
