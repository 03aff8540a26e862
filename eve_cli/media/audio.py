"""What travels with the picture: sound, subtitles, chapters and tags of the source."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from eve_cli.media.clip import VideoInfo


class Companions:
    """Streams copied from the source into an output container, as video time advances."""

    def __init__(self, output: Any, like: VideoInfo | None, writer: Any) -> None:
        self._output = output

    def until(self, time: Fraction) -> None:
        """Mux everything up to an output time."""

    def finish(self, end: Fraction) -> None:
        """Mux the rest."""
        self.close()

    def close(self) -> None:
        """Let go of the source."""
