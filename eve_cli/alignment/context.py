"""What student, teachers and discriminators are told of a batch of data points."""

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

    The teachers read `text`, `instruction` and `task`; the student reads `asked` and `label` in place of the first and
    the last, since people give an instruction and nothing else.
    """

    source: Tensor
    """Latents of the input clips (b, f, c, h, w)."""
    control_image: Tensor
    """What the edit adapter is shown of them: the same, or frames (b, f, 3, height, width)."""
    first: Tensor
    """Latents of the first frames as the edit teacher edits them (b, c, h, w); they condition the video adapter."""
    text: Tensor
    """What the backbone reads under a teacher: the caption of the result (b, tokens, dim)."""
    instruction: Tensor
    """What the edit adapter reads (b, tokens, dim)."""
    asked: Tensor
    """What the backbone reads under the student (b, tokens, dim)."""
    task: Tensor
    """Task labels (b,)."""
    label: Tensor
    """The student's task labels (b,), mostly "unknown"."""
    looked: Tensor
    """Numbers of the frames that the frame discriminator looks at (b, r)."""

    @property
    def frames(self) -> int:
        return self.source.shape[1]

    @classmethod
    def of(cls, editor: Editor, rows: Mapping[str, Any]) -> Context:
        """Reads the texts of rows of `points.Rows`; autograd off."""
        with torch.no_grad():
            encoder = editor.parts.text_encoder
            reader = editor.parts.instruction_encoder or encoder
            source = rows["source"]
            return cls(
                source=source,
                control_image=editor.control_image(source.flatten(0, 1)).unflatten(0, source.shape[:2]),
                first=rows["first"],
                text=encoder(rows["caption"]).last_hidden_state,
                instruction=reader(rows["instruction"]).last_hidden_state,
                asked=encoder(rows["asked"]).last_hidden_state,
                task=rows["task"],
                label=rows["label"],
                looked=rows["looked"],
            )

    def pick(self, clips: Tensor) -> Tensor:
        """The frames that are looked at, of clips (b, f, ...), as (b * r, ...)."""
        rows = torch.arange(len(clips), device=clips.device).unsqueeze(1)
        return clips[rows, self.looked].flatten(0, 1)


def per_frame(value: Tensor, frames: int) -> Tensor:
    """(b, ...) to (b * frames, ...), the frames of a clip together."""
    return value.repeat_interleave(frames, dim=0)
