"""A model of the score of the student's samples, for distribution matching distillation (DMD, Yin et al. 2024)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from eve_cli.alignment.context import Context
from eve_cli.alignment.teachers.base import Teacher
from eve_cli.models import lora, low_rank
from eve_cli.models.share_weights import shared_unet
from eve_cli.training.checkpoint import load_optimizer, optimizer_tensors

NAME = "score"


class FakeScore:
    """A copy of a teacher with low-rank layers, which are trained on the student's samples.

    The teacher's prediction minus this one points from the student's samples to the teacher's, without the blur of a
    mean.
    """

    def __init__(
        self,
        teacher: Teacher,
        rank: int,
        lr: float,
        seed: int = 0,
        accumulate: int = 1,
        average: Callable[[Sequence[nn.Parameter]], None] = lambda parameters: None,
    ) -> None:
        torch.manual_seed(seed)
        editor = copy.copy(teacher.editor)
        if teacher.network == "backbone":
            unet = editor.backbone = shared_unet(editor.parts.backbone)
        elif teacher.network == "lora_unet":
            unet = editor.lora_unet = shared_unet(editor.parts.backbone)
            lora.attach(unet, lora.weights(teacher.editor.lora_unet))
        else:
            unet = editor.video = editor.shared_motion_unet()
        self.layers = low_rank.add(unet, NAME, rank)
        self.teacher = copy.copy(teacher)
        self.teacher.editor, self.teacher.guidance = editor, 1.0
        self.optimizer = torch.optim.AdamW(self.layers, lr, betas=(0.0, 0.999), weight_decay=0.0)
        self.accumulate, self.average, self.calls = accumulate, average, 0

    def to(self, device: torch.device) -> None:
        """Moves the copy of the teacher with its low-rank layers."""
        self.teacher.editor.to(device)

    def clean(self, noisy: Tensor, t: Tensor, context: Context) -> Tensor:
        """Its prediction of clean latents for a noisy view, without gradients."""
        with torch.no_grad():
            return self.teacher.clean(noisy, t, context)

    def train_step(self, sample: Tensor, context: Context) -> Tensor:
        """One step on a view of the student's samples, without gradient; returns the loss of the velocity."""
        schedule = self.teacher.schedule
        t = torch.randint(20, schedule.steps, (len(sample),), device=sample.device)
        noisy = schedule.add_noise(sample, torch.randn_like(sample), t)
        error = schedule.of_output(self.teacher.clean(noisy, t, context).float() - sample, t)
        loss = error.square().mean()
        gradients = torch.autograd.grad(loss / self.accumulate, self.layers)
        for layer, gradient in zip(self.layers, gradients, strict=True):
            layer.grad = gradient if layer.grad is None else layer.grad + gradient
        self.calls += 1
        if self.calls % self.accumulate == 0:
            self.average(self.layers)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def state(self) -> dict[str, Tensor]:
        """Weights and the optimizer's moments, by name."""
        layers = {f"layer/{i}": layer.detach() for i, layer in enumerate(self.layers)}
        return layers | {f"optimizer/{k}": v for k, v in optimizer_tensors(self.optimizer).items()}

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        """Loads what `state` returned."""
        for i, layer in enumerate(self.layers):
            layer.copy_(state[f"layer/{i}"])
        load_optimizer(
            self.optimizer, {k.removeprefix("optimizer/"): v for k, v in state.items() if k.startswith("optimizer/")}
        )
