"""Plug-and-play (Tumanyan et al. 2023), frame by frame: where the source's places attend to, the edit's do too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.feature_injection import injected, of_source
from eve_cli.methods.options import PnPOptions
from eve_cli.models.attention import Attend, plain

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


class PnP:
    """Inverts every frame, and samples it with the new caption and the layout of the source."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The edited latents; frames are edited independently."""
        source = of_source(len(clip.source))

        def shared(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return plain(source(query), source(key), value)

        def way(step: int, shares: bool) -> Attend:
            return shared if shares else plain

        return injected(editor, clip, guidance, guidance.options_as(PnPOptions), way)
