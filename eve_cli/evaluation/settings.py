"""What an evaluation can be told: plain dataclasses, light to import (no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eve_cli.errors import UsageError
from eve_cli.settings import setting


@dataclass(frozen=True)
class AlignmentBenchSettings:
    """Measure what alignment is worth on held-out edits of the world, where the right answer is known.

    The table's lines are base lines, smoothed controls, the model without its alignment, and each aligned model. Means
    come with 95 % bootstrap intervals; ▲ and ▼ mark paired differences from the unaligned line that are clear of zero.
    """

    model: str = setting("mini", "Model whose adapters are measured.", flags=("--model", "-m"))
    aligned: str = setting("", "Aligned models, as full=runs/a/model,no-sds=runs/b/model.", metavar="NAME=DIR,...")
    steps: str = setting("3,10,20", "Numbers of steps, one table each.")
    each: int = setting(40, "Edits of each task.", min=1)
    tasks: str = setting("", "Tasks (default: the seven that alignment sees), as add,remove.")
    seed: int = setting(0, "Which held-out edits.", min=0)
    text_cfg: float | None = setting(None, "Guidance on the texts (default: the model's own).")
    controls: bool = setting(True, "Base lines and smoothed controls too.", flags=("--controls/--no-controls",))
    out: Path = setting(
        Path("runs/bench-alignment"), "Folder of values and tables.", flags=("--out", "-o"), metavar="DIR"
    )
    strips: int = setting(0, "Pictures of this many first edits, all lines above each other.", min=0)

    def __post_init__(self) -> None:
        _ = self.counts, self.folders  # to be told at once what is wrong

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of steps."""
        try:
            found = tuple(int(part) for part in self.steps.split(","))
        except ValueError:
            found = ()
        if not found or min(found) < 1:
            raise UsageError(f"--steps must be numbers such as 3,10,20, not {self.steps!r}.")
        return found

    @property
    def folders(self) -> dict[str, str]:
        """The aligned models by name."""
        found = {}
        for item in filter(None, self.aligned.split(",")):
            name, equals, folder = item.partition("=")
            if not equals or not name or not folder:
                raise UsageError(f"--aligned must look like full=runs/align/model, not {item!r}.")
            found[name] = folder
        return found
