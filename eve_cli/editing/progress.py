"""How an edit tells what it does, without knowing who listens. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eve_cli.estimate.estimator import Forecast
    from eve_cli.media.clip import VideoInfo


class Watcher:
    """Told what happens, for whoever wants to print it; does nothing itself.

    With `foresees` it is told beforehand what the edit should take, and the machine's history keeps what it took;
    `started` is when the program began (`time.monotonic`), if that is to be counted.
    """

    foresees = False
    started: float | None = None

    def found(self, info: VideoInfo, plan: dict[str, Any], unknown: list[str], folder: Path) -> None:
        """The source was looked at and the plan is fixed; `unknown` are words that the model never learned."""

    def foretold(self, forecast: Forecast) -> None:
        """How long it will take, and how much memory."""

    def progress(self, stage: str, done: float, total: int) -> None:
        """`done` of `total` windows (stage "edit"; in parts too), steps ("learn") or frames ("write") are finished."""

    def note(self, text: str) -> None:
        """Something that the user should know."""
