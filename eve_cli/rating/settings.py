"""Settings of `eve rate`: plain dataclasses, light to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eve_cli.errors import UsageError
from eve_cli.rating.modes import MODES, Mode, Question
from eve_cli.settings import setting


@dataclass(frozen=True)
class CreateSettings:
    """Create a blind study from the results of two or more systems.

    Each SYSTEM is NAME=PATH: a manifest (csv, jsonl, parquet) or, with --data, a folder of results. A manifest with a
    column `method` lists several systems and needs no name. The edits that all systems have are rated.
    """

    systems: list[str] = setting(
        help="Systems, as ours=runs/ours.csv theirs=runs/theirs.csv.", argument=True, metavar="SYSTEM"
    )
    out: Path = setting(Path("study"), "Folder of the study.", flags=("--out", "-o"), metavar="DIR")
    mode: Literal["pairwise", "scores", "best"] = setting(
        "pairwise", "Two edits side by side, 1-5 scores of one edit, or the best of all."
    )
    data: Path | None = setting(
        None, "Sources of the edits in folders of results: a manifest, or the folder of TGVE.", metavar="PATH"
    )
    questions: str = setting("", "Ask only these questions, as text,quality.")
    ties: bool = setting(False, "Allow 'no difference' as an answer.", flags=("--ties/--no-ties",))
    catch: float = setting(0.05, "Share of catch trials, whose right answer is known.", min=0.0, max=0.5)
    limit: int = setting(0, "Use a random sample of this many edits (0 = all).", min=0)
    each: int = setting(0, "Trials per rater (0 = all).", min=0)
    raters: int = setting(3, "Expected number of raters, used for the power estimate only.", min=1)
    size: int = setting(512, "Longest side of the videos that raters see.", min=32)
    fps: float = setting(8.0, "Frames per second of images whose source has no frame rate.", min=0.1)
    seed: int = setting(0, "Random seed of the plan.", min=0)

    def __post_init__(self) -> None:
        _ = self.system_paths, self.selected_questions  # raise UsageError early
        if self.ties and self.rules.scores:
            raise UsageError("--ties applies to --mode pairwise and best; scores have no ties.")

    @property
    def rules(self) -> Mode:
        """The protocol."""
        return MODES[self.mode]

    @property
    def system_paths(self) -> list[tuple[str, Path]]:
        """The name and path of each system; the name is "" for a manifest that names its systems itself."""
        paths = []
        for item in self.systems:
            name, equals, path = item.partition("=")
            name, path = (name.strip(), path) if equals else ("", item)
            if not path or (equals and not name):
                raise UsageError(f"A system must look like ours=runs/ours.csv, not {item!r}.")
            paths.append((name, Path(path)))
        return paths

    @property
    def selected_questions(self) -> tuple[Question, ...]:
        """The questions, in the order of the protocol."""
        names = {part.strip() for part in self.questions.split(",")} - {""}
        question_ids = [question.id for question in self.rules.questions]
        if unknown := sorted(names - set(question_ids)):
            raise UsageError(f"--mode {self.mode} has no question {unknown[0]!r}; it has {', '.join(question_ids)}.")
        return tuple(question for question in self.rules.questions if not names or question.id in names)


@dataclass(frozen=True)
class ServeSettings:
    """Serve a study to raters, on this computer only. Stop it with Ctrl-C; every answer is saved at once."""

    study: Path = setting(help="Folder of the study.", argument=True, metavar="STUDY")
    port: int = setting(0, "Port on 127.0.0.1 (0 = any free one).", min=0, max=65535)
    open: bool = setting(False, "Open the page in the web browser.", flags=("--open/--no-open",))


@dataclass(frozen=True)
class AnalyzeSettings:
    """Analyse the answers of a study: shares, intervals, agreement, and the attention of each rater.

    Writes votes.csv, summary.json and summary.md into the study; run it at any time.
    """

    study: Path = setting(help="Folder of the study.", argument=True, metavar="STUDY")
    out: Path | None = setting(
        None, "Folder of the results (default: the study).", flags=("--out", "-o"), metavar="DIR"
    )
    least: float = setting(0.0, "Exclude raters who pass a smaller share of catch trials.", min=0.0, max=1.0)
    draws: int = setting(2000, "Bootstrap resamples.", min=100)
    seed: int = setting(0, "Random seed of the bootstrap.", min=0)
    json: bool = setting(False, "Print summary.json instead of the tables.", flags=("--json",))
