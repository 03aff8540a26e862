"""What the world's eyes may judge: only edits of attributes that they tell apart well enough."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from eve_cli.data.world.variants import TASK_ATTRIBUTES
from eve_cli.errors import ModelError

GATE = 0.9  # share of clips never seen whose caption must be found among those that differ in the attribute alone
GATES_FILE = "gates.json"


@dataclass(frozen=True)
class Gates:
    """The share of right answers by attribute, measured when the eyes were trained."""

    right: dict[str, float]

    @classmethod
    def read(cls, folder: Path) -> Gates:
        """From the file beside the weights; ModelError where it is missing or malformed."""
        try:
            told = json.loads((folder / GATES_FILE).read_text(encoding="utf-8"))["attributes"]
            return cls({name: float(row["right"]) for name, row in told.items()})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{folder} has no readable {GATES_FILE}: train the eyes again.") from error

    def closed(self, task: str) -> str | None:
        """Why edits of a task are not judged, or None where they are."""
        if task not in TASK_ATTRIBUTES:
            return f"these eyes were not tried on the task {task!r}"
        for attribute in TASK_ATTRIBUTES[task]:
            right = self.right.get(attribute, 0.0)
            if right < GATE:
                return f"not judged: {attribute} is told apart in {right:.0%} of clips, and {GATE:.0%} are asked for"
        return None
