"""The student makes a clip, with gradients through its steps (EVE, section 3.3)."""

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
from eve_cli.models.low_rank import Tree, Where
from eve_cli.models.share_weights import shared_unet

Visit = Callable[[Tensor, Tensor, Tensor], None]


class Student:
    """Backbone, edit adapter and video adapter together, with low-rank layers of its own, which alone learn."""

    def __init__(self, editor: Editor, rank: int, where: Where = "attention") -> None:
        """Fresh low-rank layers, or the model's own alignment, which is then trained on."""
        self.editor = editor
        self.tree: Tree = editor.need_student()
        self._learn(rank, where, fresh=editor.parts.align is None)

    def _learn(self, rank: int, where: Where, fresh: bool) -> None:
        if fresh:
            low_rank.add(self.tree, alignment_lora.ADAPTER, rank, where)
        for parameter in low_rank.parameters(self.tree, alignment_lora.ADAPTER):
            parameter.data = parameter.data.float()  # bfloat16 would lose most of the small steps
            parameter.requires_grad_(True)
        self.module: nn.Module = low_rank.Layers(self.tree, alignment_lora.ADAPTER)

    def weights(self) -> dict[str, Tensor]:
        """What was learned, by peft's names."""
        return low_rank.weights(self.tree, alignment_lora.ADAPTER)

    @classmethod
    def fresh(cls, editor: Editor, rank: int, where: Where = "attention") -> Student:
        """The paper's ablation: the same backbone with untrained adapters, which learn too (EVE, section 4.3)."""
        parts = editor.parts
        edit = fresh_edit(parts.backbone, parts.settings.control_image)
        video = fresh_video(parts.backbone, parts.settings.first_frame)
        untrained = replace(parts, edit=edit, video=video, align=None, domain=None)
        student = cls(Editor(untrained, editor.device), rank, where)
        edit.requires_grad_(True)
        video.requires_grad_(True)
        student.module = nn.ModuleDict({"edit": edit, "video": video, "align": student.module})
        return student

    def to(self, device: torch.device) -> None:
        """Moves all parts; the low-rank layers follow as they lie in the tree."""
        for _, module in self.editor.parts.modules():
            module.to(device)
        nn.Module.to(self.tree, device)
        self.editor.follow(device)

    @contextmanager
    def without(self) -> Iterator[None]:
        """Inside, the student is what it was before alignment: the tree that has no low-rank layers."""
        editor = self.editor
        editor.student, kept = editor.video, editor.student
        try:
            yield
        finally:
            editor.student = kept

    @property
    def schedule(self) -> Schedule:
        """On which its timesteps count."""
        return self.editor.schedule

    def clean(self, noisy: Tensor, t: Tensor, context: Context) -> Tensor:
        """Clean latents of noisy ones (b, f, c, h, w) at timesteps (b,)."""
        return self.editor.clean_student(
            noisy, t, context.asked, context.instruction, context.control_image, context.first, context.label
        )

    def make(
        self,
        context: Context,
        noise: Tensor,
        timesteps: Tensor,
        checkpointing: bool = False,
        end: int | None = None,
        visit: Visit | None = None,
    ) -> Tensor:
        """Clean latents (b, f, c, h, w) from noise over falling `timesteps` (k, b), without guidance.

        The gradient flows through all k steps; with `checkpointing`, memory holds the activations of one at a time.
        With `end` the clip is what step `end` makes, and the gradient flows through that step alone (Self-Forcing).
        `visit(noisy, t, clean)` is told of each step that has a gradient.
        """

        def denoise(noisy: Tensor, t: Tensor) -> Tensor:
            if not checkpointing or not torch.is_grad_enabled():
                made = self.clean(noisy, t, context).float()
            else:
                made = checkpoint(lambda n, t: self.clean(n, t, context).float(), noisy, t, use_reentrant=False)
            assert isinstance(made, Tensor)
            if visit is not None and torch.is_grad_enabled():
                visit(noisy, t, made)
            return made

        schedule = self.schedule
        if end is None:
            return ddim(denoise, schedule, noise, timesteps)
        noisy = noise
        with torch.no_grad():
            for t, t_next in pairwise(timesteps[: end + 1]):
                noisy = ddim_step(schedule, noisy, denoise(noisy, t), t, t_next)
        return denoise(noisy, timesteps[end])


class PictureStudent(Student):
    """Backbone, edit adapter and a LoRA together on lone frames: personal and stylised edits (EVE, section 4.4)."""

    def __init__(self, editor: Editor, rank: int, where: Where = "attention") -> None:
        """`editor` has a LoRA."""
        self.plain = editor
        self.editor = copy.copy(editor)
        self.tree = self.editor.lora_unet = shared_unet(editor.parts.backbone)
        lora.attach(self.tree, lora.weights(editor.lora_unet))
        self._learn(rank, where, fresh=True)

    @property
    def schedule(self) -> Schedule:
        return self.editor.image_schedule

    @contextmanager
    def without(self) -> Iterator[None]:
        self.editor.lora_unet = self.plain.lora_unet
        try:
            yield
        finally:
            assert not isinstance(self.tree, UNetMotionModel)
            self.editor.lora_unet = self.tree

    def clean(self, noisy: Tensor, t: Tensor, context: Context) -> Tensor:
        made = self.editor.clean_edit(
            noisy.flatten(0, 1),
            per_frame(t, context.frames),
            per_frame(context.asked, context.frames),
            per_frame(context.instruction, context.frames),
            context.control_image.flatten(0, 1),
            per_frame(context.label, context.frames),
            with_lora=True,
        )
        return made.view(noisy.shape)
