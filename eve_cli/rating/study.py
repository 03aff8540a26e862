"""The folder of a study: plan.json (trials under opaque names), key.json (names to systems), m/ (the videos)."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import permutations
from pathlib import Path
from typing import Any

from eve_cli.errors import InputError
from eve_cli.rating.modes import MODES, Mode, Question
from eve_cli.storage.atomic import write_text

FORMAT = 1
OBVIOUS, SAME = "obvious", "same"  # catch trials: one side is clearly better, or all sides show the same clip
PLAN, KEY, MEDIA = "plan.json", "key.json", "m"


@dataclass(frozen=True)
class Trial:
    """One trial: the file names of the source and of the edits, in the order on screen."""

    id: str
    caption: str
    instruction: str
    source: str
    edits: tuple[str, ...]
    fps: float

    def rotated(self, by: int) -> Trial:
        """The trial with its edits rotated by so many positions."""
        by %= len(self.edits)
        return replace(self, edits=(*self.edits[by:], *self.edits[:by]))


@dataclass(frozen=True)
class Plan:
    """All data of the server; it reveals neither systems nor which trials are catch trials."""

    study: str
    mode: str
    ties: bool
    questions: tuple[str, ...]
    each: int
    order: int
    trials: tuple[Trial, ...]
    checks: tuple[Trial, ...]

    @property
    def rules(self) -> Mode:
        """The protocol."""
        return MODES[self.mode]

    @cached_property
    def media(self) -> frozenset[str]:
        """The names of the files that may be served."""
        return frozenset(name for trial in (*self.trials, *self.checks) for name in (trial.source, *trial.edits))

    def questions_for(self, seat: int) -> tuple[Question, ...]:
        """The questions in the order for the rater on this seat, the same in each trial."""
        orders = list(permutations(q for q in self.rules.questions if q.id in self.questions))
        random.Random(f"{self.order} questions").shuffle(orders)
        return orders[seat % len(orders)]

    def trials_for(self, seat: int) -> list[Trial]:
        """The trials of the rater on this seat, in order.

        Raters share one shuffled sequence of all trials, which repeats; each repetition rotates the positions by one,
        so that N raters of all trials see each system of an item exactly once at each of N positions.
        """
        row = list(range(len(self.trials)))
        random.Random(f"{self.order} row").shuffle(row)
        size = min(self.each or len(row), len(row))
        places = [divmod(seat * size + n, len(row)) for n in range(size)]
        trials = [self.trials[row[place]].rotated(turn) for turn, place in places]
        rng = random.Random(f"{self.order} seat {seat}")
        rng.shuffle(trials)
        for check in self.checks:
            trials.insert(rng.randint(min(1, len(trials)), len(trials)), check.rotated(seat))
        return trials


def save(folder: Path, plan: Plan, key: dict[str, Any]) -> None:
    """Writes plan and key atomically; only the owner can read the key."""
    _write(folder / KEY, {"format": FORMAT, **key})
    os.chmod(folder / KEY, 0o600)
    _write(folder / PLAN, {"format": FORMAT, **asdict(plan)})


def load(folder: Path) -> Plan:
    """The plan of a study; InputError if there is none or it is damaged."""
    content = _read(folder, PLAN)
    try:
        trials, checks = (tuple(_trial(row) for row in content.pop(name)) for name in ("trials", "checks"))
        content.pop("format")
        plan = Plan(**{**content, "questions": tuple(content["questions"]), "trials": trials, "checks": checks})
        _ = plan.rules
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / PLAN}: is not the plan of a study ({error}).") from error
    return plan


def load_key(folder: Path) -> dict[str, Any]:
    """The mapping from opaque names to systems; InputError if it is missing."""
    return _read(folder, KEY)


def _trial(row: dict[str, Any]) -> Trial:
    return Trial(**{**row, "edits": tuple(row["edits"])})


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder}: has no {name}; create a study with: eve rate create") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / name}: cannot be read ({error}).") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{folder / name}: was written by another version of eve; create the study again.")
    return content


def _write(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def opaque_names(rng: random.Random, count: int) -> Sequence[str]:
    """Distinct random hexadecimal file names."""
    names: dict[str, None] = {}
    while len(names) < count:
        names[f"{rng.getrandbits(64):016x}.mp4"] = None
    return list(names)
