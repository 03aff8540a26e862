"""The conditions of a batch for student, teachers and discriminators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eve_cli.models.editor import Editor


@dataclass(frozen=True)
class Context:
    """The conditions of ``b`` data points, on the device; nothing in it comes from a true edit.

    The edit teacher reads `text`, `instruction` and `task`, the teachers of a caption alone `caption`. The student
    reads `student_text` and `student_task` in place of `text` and `task`, since users give an instruction and nothing
    else. Which texts these are is the model's convention (`BundleSettings.edit_text`), the same as in an edit.
    """

    source: Tensor
    """Latents of the input clips (b, f, c, h, w)."""
    control_image: Tensor
    """What the edit adapter reads of them: the same, or frames (b, f, 3, height, width)."""
    first: Tensor
    """Latents of the first frames edited by the edit teacher (b, c, h, w), a condition of the video adapter."""
    text: Tensor
    """The edit teacher's text for the backbone: the caption of the result, or the instruction (b, tokens, dim)."""
    caption: Tensor
    """The caption of the result for the backbone (b, tokens, dim)."""
    instruction: Tensor
    """The edit adapter's text (b, tokens, dim)."""
    student_text: Tensor
    """The student's text for the backbone (b, tokens, dim)."""
    task: Tensor
    """Task labels (b,)."""
    student_task: Tensor
    """The student's task labels (b,), mostly "unknown"."""
    discriminator_frames: Tensor
    """Numbers of the frames that the frame discriminator reads (b, r)."""

    @property
    def frames(self) -> int:
        return self.source.shape[1]

    @classmethod
    def of(cls, editor: Editor, batch: Mapping[str, Any]) -> Context:
        """Encodes the texts of a batch of points (see `points.PreparedPoints`), without gradients."""
        with torch.no_grad():
            encoder = editor.parts.text_encoder
            instruction_encoder = editor.parts.instruction_encoder or encoder
            source, convention = batch["source"], editor.settings.edit_text
            text = batch["instruction" if convention == "instruction" else "caption"]
            student_text = batch["student_text"] if convention == "split" else text
            return cls(
                source=source,
                control_image=editor.control_image(source.flatten(0, 1)).unflatten(0, source.shape[:2]),
                first=batch["first"],
                text=encoder(text).last_hidden_state,
                caption=encoder(batch["caption"]).last_hidden_state,
                instruction=instruction_encoder(
                    batch["caption" if convention == "caption" else "instruction"]
                ).last_hidden_state,
                student_text=encoder(student_text).last_hidden_state,
                task=batch["task"],
                student_task=batch["student_task"],
                discriminator_frames=batch["discriminator_frames"],
            )

    def pick_frames(self, clips: Tensor) -> Tensor:
        """The frames for the frame discriminator, of clips (b, f, ...), as (b * r, ...)."""
        rows = torch.arange(len(clips), device=clips.device).unsqueeze(1)
        return clips[rows, self.discriminator_frames].flatten(0, 1)


def per_frame(value: Tensor, frames: int) -> Tensor:
    """(b, ...) to (b * frames, ...), the frames of a clip together."""
    return value.repeat_interleave(frames, dim=0)
