"""Options of `tokenflow`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eve_cli.methods.options.base import need_video
from eve_cli.methods.options.injecting import InjectingOptions
from eve_cli.settings import setting

if TYPE_CHECKING:
    from eve_cli.editing.request import EditRequest


@dataclass(frozen=True)
class TokenFlowOptions(InjectingOptions):
    """Plug-and-play, and how many frames the others follow."""

    stride: int = setting(4, "One of so many frames is a keyframe, another one at each step.", min=1, metavar="N")

    def check(self, request: EditRequest) -> None:
        """UsageError for a picture, too."""
        need_video(request)
        super().check(request)
