"""The student: samples clips with gradients through its steps (EVE, section 3.3)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import torch
from diffusers import UNetMotionModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from eve_cli.alignment.context import Context, per_frame
from eve_cli.diffusion.samplers import ddim, ddim_step
from eve_cli.diffusion.schedule import Schedule
from eve_cli.models import alignment_lora, lora, low_rank
from eve_cli.models.adapters import fresh_edit, fresh_video
from eve_cli.models.editor import Editor
from eve_cli.models.low_rank import Unet, Where
from eve_cli.models.share_weights import shared_unet

OnStep = Callable[[Tensor, Tensor, Tensor], None]


class Student:
    """Backbone, edit adapter and video adapter together, with low-rank layers that alone are trained."""

    def __init__(self, editor: Editor, rank: int, where: Where = "attention") -> None:
        """With the low-rank layers of the model's alignment, or new ones if it has none."""
        self.editor = editor
        self.unet: Unet = editor.need_student()
        self._train_layers(rank, where, new=editor.parts.align is None)

    def _train_layers(self, rank: int, where: Where, new: bool) -> None:
        if new:
            low_rank.add(self.unet, alignment_lora.ADAPTER, rank, where)
        for parameter in low_rank.parameters(self.unet, alignment_lora.ADAPTER):
            parameter.data = parameter.data.float()  # bfloat16 would lose most of the small steps
            parameter.requires_grad_(True)
        self.module: nn.Module = low_rank.Layers(self.unet, alignment_lora.ADAPTER)

    def weights(self) -> dict[str, Tensor]:
        """The weights of the low-rank layers, by peft's names."""
        return low_rank.weights(self.unet, alignment_lora.ADAPTER)

    @classmethod
    def untrained(cls, editor: Editor, rank: int, where: Where = "attention") -> Student:
        """The paper's ablation: the same backbone with untrained adapters, which are trained too (EVE, section 4.3)."""
        parts = editor.parts
        edit = fresh_edit(parts.backbone, parts.settings.control_image)
        video = fresh_video(parts.backbone, parts.settings.first_frame)
        new_parts = replace(parts, edit=edit, video=video, align=None, domain=None)
        student = cls(Editor(new_parts, editor.device), rank, where)
        edit.requires_grad_(True)
        video.requires_grad_(True)
        student.module = nn.ModuleDict({"edit": edit, "video": video, "align": student.module})
        return student

    def to(self, device: torch.device) -> None:
        """Moves all parts, including the UNet with the low-rank layers."""
        self.editor.to(device)

    @contextmanager
    def unaligned(self) -> Iterator[None]:
        """Inside, the student runs without its low-rank layers, as before alignment."""
        editor = self.editor
        editor.student, aligned = editor.video, editor.student
        try:
            yield
        finally:
            editor.student = aligned

    @property
    def schedule(self) -> Schedule:
        """The noise schedule of its timesteps."""
        return self.editor.schedule

    def clean(self, noisy: Tensor, t: Tensor, context: Context) -> Tensor:
        """Its prediction of clean latents for noisy ones (b, f, c, h, w) at timesteps (b,)."""
        return self.editor.clean_student(
            noisy,
            t,
            context.student_text,
            context.instruction,
            context.control_image,
            context.first,
            context.student_task,
        )

    def sample(
        self,
        context: Context,
        noise: Tensor,
        timesteps: Tensor,
        checkpointing: bool = False,
        end: int | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Clean latents (b, f, c, h, w) from noise over falling `timesteps` (k, b), without guidance.

        The gradient flows through all k steps; with `checkpointing`, memory holds the activations of one at a time.
        With `end` the result is the prediction at step `end`, and the gradient flows through that step alone (as in
        Self-Forcing). `on_step(noisy, t, clean)` is called for each step with a gradient.
        """

        def denoise(noisy: Tensor, t: Tensor) -> Tensor:
            if not checkpointing or not torch.is_grad_enabled():
                clean = self.clean(noisy, t, context).float()
            else:
                clean = checkpoint(lambda n, t: self.clean(n, t, context).float(), noisy, t, use_reentrant=False)
            assert isinstance(clean, Tensor)
            if on_step is not None and torch.is_grad_enabled():
                on_step(noisy, t, clean)
            return clean

        schedule = self.schedule
        if end is None:
            return ddim(denoise, schedule, noise, timesteps)
        noisy = noise
        with torch.no_grad():
            for t, t_next in pairwise(timesteps[: end + 1]):
                noisy = ddim_step(schedule, noisy, denoise(noisy, t), t, t_next)
        return denoise(noisy, timesteps[end])


class ImageStudent(Student):
    """Backbone, edit adapter and a LoRA on single frames: personal and stylised edits (EVE, section 4.4)."""

    def __init__(self, editor: Editor, rank: int, where: Where = "attention") -> None:
        """`editor` must have a LoRA."""
        self.unaligned_editor = editor
        self.editor = copy.copy(editor)
        self.unet = self.editor.lora_unet = shared_unet(editor.parts.backbone)
        lora.attach(self.unet, lora.weights(editor.lora_unet))
        self._train_layers(rank, where, new=True)

    @property
    def schedule(self) -> Schedule:
        return self.editor.image_schedule

    @contextmanager
    def unaligned(self) -> Iterator[None]:
        self.editor.lora_unet = self.unaligned_editor.lora_unet
        try:
            yield
        finally:
            assert not isinstance(self.unet, UNetMotionModel)
            self.editor.lora_unet = self.unet

    def clean(self, noisy: Tensor, t: Tensor, context: Context) -> Tensor:
        clean = self.editor.clean_edit(
            noisy.flatten(0, 1),
            per_frame(t, context.frames),
            per_frame(context.student_text, context.frames),
            per_frame(context.instruction, context.frames),
            context.control_image.flatten(0, 1),
            per_frame(context.student_task, context.frames),
            with_lora=True,
        )
        return clean.view(noisy.shape)
