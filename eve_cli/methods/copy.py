"""The unchanged source: the reference for any edit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from eve_cli.methods.base import Clip, Guidance

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


class Copy:
    """Changes nothing."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The source latents."""
        return clip.source
