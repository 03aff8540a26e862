"""Restricts the world's encoders to edits of attributes that they distinguish reliably."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from eve_cli.data.world.variants import TASK_ATTRIBUTES
from eve_cli.errors import ModelError

GATE = 0.9  # required accuracy on held-out clips among captions that differ in the attribute alone
GATES_FILE = "gates.json"


@dataclass(frozen=True)
class Gates:
    """The accuracy by attribute, measured when the encoders were trained."""

    accuracies: dict[str, float]

    @classmethod
    def read(cls, folder: Path) -> Gates:
        """Reads the file beside the weights; ModelError if it is missing or malformed."""
        try:
            attributes = json.loads((folder / GATES_FILE).read_text(encoding="utf-8"))["attributes"]
            return cls({name: float(row["right"]) for name, row in attributes.items()})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{folder} has no readable {GATES_FILE}: train the encoders again.") from error

    def closed(self, task: str) -> str | None:
        """The reason why edits of a task are not scored, or None."""
        if task not in TASK_ATTRIBUTES:
            return f"these encoders were not tested on the task {task!r}"
        for attribute in TASK_ATTRIBUTES[task]:
            accuracy = self.accuracies.get(attribute, 0.0)
            if accuracy < GATE:
                return f"not scored: the accuracy for {attribute} is {accuracy:.0%}, below {GATE:.0%}"
        return None
