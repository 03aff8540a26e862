"""Options of `rave`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eve_cli.methods.options.base import MethodOptions, need_video
from eve_cli.settings import setting

if TYPE_CHECKING:
    from eve_cli.editing.request import EditRequest


@dataclass(frozen=True)
class RaveOptions(MethodOptions):
    """How frames are put together."""

    grid: int = setting(2, "Frames side by side, and rows of them, in a picture.", min=1, max=8, metavar="N")

    def check(self, request: EditRequest) -> None:
        """UsageError for a picture."""
        need_video(request)
