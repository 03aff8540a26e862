"""Callbacks and notes by which an edit reports its progress, and the timings that it measures. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eve_cli.editing.edit_plan import EditPlan
    from eve_cli.media.clip import VideoInfo
    from eve_cli.models.loading import LoadedModel


def unknown_words_note(model: str, words: Sequence[str]) -> str:
    """`"zebra" is not in the vocabulary of mini; the result may ignore it`."""
    quoted = ", ".join(f'"{word}"' for word in words)
    verb, them = ("is", "it") if len(words) == 1 else ("are", "them")
    return f"{quoted} {verb} not in the vocabulary of {model}; the result may ignore {them}"


def unread_note(model: str, texts: Sequence[str]) -> str:
    """`the text is too long for mini, which does not read "make it snowy"`."""
    quoted = ", ".join(f'"{text}"' for text in texts)
    return f"the text is too long for {model}, which does not read {quoted}"


def text_notes(plan: EditPlan) -> list[str]:
    """Notes on the texts of an edit: words that are not in the model's vocabulary, and what it does not read."""
    model, notes = plan.edit.model.name, list[str]()
    if plan.unknown_words:
        notes.append(unknown_words_note(model, plan.unknown_words))
    if plan.unread:
        notes.append(unread_note(model, plan.unread))
    return notes


class EditCallbacks:
    """Called while an edit runs; these do nothing."""

    def on_plan(self, plan: EditPlan, model: LoadedModel, info: VideoInfo, run_dir: Path) -> None:
        """The source was scanned and the plan is fixed; finished windows are kept in `run_dir`."""

    def on_progress(self, stage: str, done: float, total: int) -> None:
        """`done` of `total` windows (stage "edit"; fractions too), steps ("finetune") or frames ("write") are done."""

    def on_note(self, text: str) -> None:
        """Something that the user should know."""


@dataclass
class Timings:
    """What an edit took."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds by stage."""
    peak_bytes: int = 0
    """The most memory at once, beyond the model's own."""
    windows: int = 0
    """Windows that were edited in this run."""
    fallbacks: list[str] = field(default_factory=list)
    """Names of the out-of-memory fallbacks that were applied."""

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Adds the time of a block to a stage."""
        started = time.monotonic()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - started

    @property
    def total(self) -> float:
        """Seconds in all."""
        return sum(self.seconds.values())
