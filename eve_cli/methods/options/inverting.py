"""Options of methods that go from the source back to noise, and from there to what is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eve_cli.errors import UsageError
from eve_cli.methods.options.base import MethodOptions
from eve_cli.settings import setting

if TYPE_CHECKING:
    from eve_cli.editing.request import EditRequest
    from eve_cli.models.config import BundleSettings


@dataclass(frozen=True)
class InvertingOptions(MethodOptions):
    """How the source is inverted: with its caption if one is given, else without words."""

    source_caption: str | None = setting(None, "What the source shows, in words.", metavar="TEXT")
    corrections: int = setting(
        1, "Times that each step back to noise is corrected; more keeps more of the source.", min=0, metavar="N"
    )

    def check(self, request: EditRequest) -> None:
        """UsageError for a single step, which cannot be gone back."""
        need_steps(request)

    def read(self, request: EditRequest) -> str:
        return " ".join(self.captions(request.instruction, request.caption))

    def settled(self, request: EditRequest) -> dict[str, Any]:
        """The caption of the result too, where it can be told."""
        asked = self.captions(request.instruction, request.caption)[1]
        return super().settled(request) | ({"caption": asked} if asked != request.instruction else {})

    def usual(self, settings: BundleSettings) -> dict[str, Any]:
        """50 steps and guidance of 7.5, as the papers; for `mini` what docs/experiments.md found."""
        own = {"steps": 20, "guidance_scale": 2.0} if settings.name == "mini" else {"steps": 50, "guidance_scale": 7.5}
        return super().usual(settings) | own

    def captions(self, instruction: str, caption: str | None = None) -> tuple[str, str]:
        """What the source shows, and what the result should show: `caption`, else what the grammars of the world make
        of the source's caption and the instruction, else the instruction."""
        from eve_cli.data.world.reading import edited_caption

        told = edited_caption(self.source_caption, instruction) if self.source_caption and not caption else None
        return self.source_caption or "", caption or told or instruction


def need_steps(request: EditRequest) -> None:
    """UsageError for a single step."""
    if request.steps == 1:
        raise UsageError(f"--method {request.method} goes back to noise step by step; give --steps 2 or more.")
