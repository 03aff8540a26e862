"""Options of `fairy`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eve_cli.methods.options.base import MethodOptions, need_video
from eve_cli.settings import setting

if TYPE_CHECKING:
    from eve_cli.editing.request import EditRequest


@dataclass(frozen=True)
class FairyOptions(MethodOptions):
    """What all frames look at."""

    anchors: int = setting(3, "Frames, evenly over the shot, that all others look at.", min=1, metavar="N")

    def check(self, request: EditRequest) -> None:
        """UsageError for a picture."""
        need_video(request)
