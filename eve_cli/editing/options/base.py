"""What all classes of method options are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eve_cli.editing.request import EditRequest
    from eve_cli.models.parts import BundleSettings


@dataclass(frozen=True)
class MethodOptions:
    """Options of one method, each a `setting(...)` with a default; light to import (no torch).

    A value that is wrong by itself is a UsageError of `__post_init__`.
    """

    def check(self, request: EditRequest) -> None:
        """UsageError where these options and the rest of a request make no sense together; called before any load."""

    def usual(self, settings: BundleSettings) -> dict[str, Any]:
        """`steps`, `text_cfg` and `video_cfg` that suit the method with a model, where nothing else is asked for."""
        return {"steps": settings.steps, "text_cfg": settings.text_cfg, "video_cfg": settings.video_cfg}
