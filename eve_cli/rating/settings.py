"""What `eve rate` can be told: plain dataclasses, light to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eve_cli.errors import UsageError
from eve_cli.rating.modes import MODES, Mode, Question
from eve_cli.settings import setting


@dataclass(frozen=True)
class MakeSettings:
    """Make a blind study from the results of two systems or more.

    Each SYSTEM is NAME=PATH: a manifest (csv, jsonl, parquet) or, with --data, a folder of results. A manifest with a
    column `method` holds several systems and needs no name. What the systems have in common is rated.
    """

    systems: list[str] = setting(
        help="Systems, as ours=runs/ours.csv theirs=runs/theirs.csv.", argument=True, metavar="SYSTEM"
    )
    out: Path = setting(Path("study"), "Folder of the study.", flags=("--out", "-o"), metavar="DIR")
    mode: Literal["pairwise", "scores", "best"] = setting(
        "pairwise", "Two edits side by side, 1-5 scores of one edit, or the best of all."
    )
    data: Path | None = setting(
        None, "What folders of results are edits of: a manifest, or the folder of TGVE.", metavar="PATH"
    )
    questions: str = setting("", "Only these questions, as text,quality.")
    ties: bool = setting(False, "Allow 'no difference' as an answer.", flags=("--ties/--no-ties",))
    catch: float = setting(0.05, "Share of catch trials, whose right answer is known.", min=0.0, max=0.5)
    limit: int = setting(0, "Use this many edits, drawn at random (0 = all).", min=0)
    each: int = setting(0, "Trials that one rater sees (0 = all).", min=0)
    raters: int = setting(3, "Raters you expect; only for saying what the votes can show.", min=1)
    size: int = setting(512, "Longest side of the videos that raters see.", min=32)
    fps: float = setting(8.0, "Frames a second of pictures whose source has no rate either.", min=0.1)
    seed: int = setting(0, "Draws the plan.", min=0)

    def __post_init__(self) -> None:
        _ = self.named, self.asked  # to be told at once what is wrong
        if self.ties and self.rules.scores:
            raise UsageError("--ties is for --mode pairwise and best; a score needs no tie.")

    @property
    def rules(self) -> Mode:
        """The protocol."""
        return MODES[self.mode]

    @property
    def named(self) -> list[tuple[str, Path]]:
        """Where each system's results are, and its name; a manifest of several systems names them itself ("")."""
        found = []
        for item in self.systems:
            name, equals, path = item.partition("=")
            name, path = (name.strip(), path) if equals else ("", item)
            if not path or (equals and not name):
                raise UsageError(f"A system must look like ours=runs/ours.csv, not {item!r}.")
            found.append((name, Path(path)))
        return found

    @property
    def asked(self) -> tuple[Question, ...]:
        """The questions, in the order of the protocol."""
        wanted = {part.strip() for part in self.questions.split(",")} - {""}
        known = [question.id for question in self.rules.questions]
        if unknown := sorted(wanted - set(known)):
            raise UsageError(f"--mode {self.mode} has no question {unknown[0]!r}; it has {', '.join(known)}.")
        return tuple(question for question in self.rules.questions if not wanted or question.id in wanted)


@dataclass(frozen=True)
class ServeSettings:
    """Show a study to raters, on this computer only. Stop it with Ctrl-C; answers are safe at any moment."""

    study: Path = setting(help="Folder of the study.", argument=True, metavar="STUDY")
    port: int = setting(0, "Port on 127.0.0.1 (0 = any free one).", min=0, max=65535)
    open: bool = setting(False, "Open the page in the web browser.", flags=("--open/--no-open",))


@dataclass(frozen=True)
class TallySettings:
    """Count the answers of a study: shares, intervals, agreement, and which raters paid attention.

    Writes votes.csv, summary.json and summary.md into the study; it can be run at any time.
    """

    study: Path = setting(help="Folder of the study.", argument=True, metavar="STUDY")
    out: Path | None = setting(
        None, "Folder of the results (default: the study).", flags=("--out", "-o"), metavar="DIR"
    )
    least: float = setting(0.0, "Leave out raters who pass a smaller share of catch trials.", min=0.0, max=1.0)
    draws: int = setting(2000, "Bootstrap draws.", min=100)
    seed: int = setting(0, "Draws the bootstrap.", min=0)
    json: bool = setting(False, "Print summary.json instead of the tables.", flags=("--json",))
