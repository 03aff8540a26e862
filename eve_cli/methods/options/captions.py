"""Options of methods that compare two captions: what the source shows, and what the result should show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eve_cli.errors import UsageError
from eve_cli.methods.options.base import MethodOptions
from eve_cli.settings import setting

if TYPE_CHECKING:
    from eve_cli.editing.request import EditRequest


@dataclass(frozen=True)
class Captioned(MethodOptions):
    """A method that reads the caption of the source; whoever inherits this has `--source-caption`."""

    source_caption: str | None = setting(None, "What the source shows, in words.", metavar="TEXT")

    def check(self, request: EditRequest) -> None:
        """UsageError unless both captions are given or can be told."""
        self.captions(request.instruction, request.caption, f"--method {request.method}")

    def read(self, request: EditRequest) -> str:
        return " ".join(self.captions(request.instruction, request.caption))

    def settled(self, request: EditRequest) -> dict[str, Any]:
        """The caption of the result too."""
        return super().settled(request) | {"caption": self.captions(request.instruction, request.caption)[1]}

    def captions(self, instruction: str, caption: str | None = None, who: str = "This method") -> tuple[str, str]:
        """What the source shows, and what the result should show: `caption`, or else what the grammars of the world
        make of the source's caption and the instruction; UsageError that says what to give if they cannot."""
        from eve_cli.data.world.reading import edited_caption

        if self.source_caption is None or not self.source_caption.strip():
            raise UsageError(
                f"{who} compares two captions; give --source-caption TEXT that says what the source shows."
            )
        told = caption or edited_caption(self.source_caption, instruction)
        if told is None:
            raise UsageError(
                f"{who} cannot tell what {self.source_caption!r} becomes by {instruction!r}; give --caption TEXT that "
                "says what the result should show."
            )
        return self.source_caption, told
