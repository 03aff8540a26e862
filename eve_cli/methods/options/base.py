"""What all classes of method options are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eve_cli.errors import UsageError
from eve_cli.settings import to_mapping

if TYPE_CHECKING:
    from eve_cli.editing.request import EditRequest
    from eve_cli.models.config import BundleSettings


@dataclass(frozen=True)
class MethodOptions:
    """Options of one method, each a `setting(...)` with a default; light to import (no torch).

    A value that is wrong by itself is a UsageError of `__post_init__`.
    """

    def check(self, request: EditRequest) -> None:
        """UsageError where these options and the rest of a request make no sense together; called before any load."""

    def read(self, request: EditRequest) -> str:
        """All that the model reads."""
        return f"{request.instruction} {request.caption or ''}"

    def settled(self, request: EditRequest) -> dict[str, Any]:
        """Values of the request that follow from it and are to be kept: all options, those left to defaults too."""
        return to_mapping(self)

    def usual(self, settings: BundleSettings) -> dict[str, Any]:
        """Values of the request that suit the method with a model, where nothing else is asked for."""
        own = {
            "steps": settings.steps,
            "guidance_scale": settings.guidance_scale,
            "image_guidance_scale": settings.image_guidance_scale,
        }
        return own | {"window": settings.frames}


def need_video(request: EditRequest) -> None:
    """UsageError if a method that makes frames alike is given a picture."""
    if request.picture:
        raise UsageError(
            f"--method {request.method} makes the frames of a video alike, and {request.input} is a picture: choose "
            "another method."
        )
