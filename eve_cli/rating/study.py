"""The folder of a study: plan.json (what raters see, under opaque names), key.json (what it is), m/ (the videos)."""

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
from eve_cli.storage.atomic import AtomicFile

FORMAT = 1
OBVIOUS, SAME = "obvious", "same"  # catch trials: one side is clearly better, or all sides are the same clip
PLAN, KEY, MEDIA = "plan.json", "key.json", "m"


@dataclass(frozen=True)
class Trial:
    """One thing to look at: the source and the edits by the names of their files, in the order they are shown."""

    id: str
    caption: str
    instruction: str
    source: str
    edits: tuple[str, ...]
    fps: float

    def turned(self, by: int) -> Trial:
        """The trial with its edits moved round by so many places."""
        by %= len(self.edits)
        return replace(self, edits=(*self.edits[by:], *self.edits[:by]))


@dataclass(frozen=True)
class Plan:
    """All that the server knows: nothing in it tells a system, or a catch trial from another."""

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

    def asked(self, seat: int) -> tuple[Question, ...]:
        """The questions in the order that the rater on this seat gets, the same in each trial."""
        orders = list(permutations(q for q in self.rules.questions if q.id in self.questions))
        random.Random(f"{self.order} questions").shuffle(orders)
        return orders[seat % len(orders)]

    def sheet(self, seat: int) -> list[Trial]:
        """The trials of the rater on this seat, in order.

        Raters take turns in one long row that repeats all trials; with each repetition the sides move on by one, so
        that N raters of everything see each system of an item exactly once at each of N places.
        """
        row = list(range(len(self.trials)))
        random.Random(f"{self.order} row").shuffle(row)
        size = min(self.each or len(row), len(row))
        places = [divmod(seat * size + n, len(row)) for n in range(size)]
        shown = [self.trials[row[place]].turned(turn) for turn, place in places]
        rng = random.Random(f"{self.order} seat {seat}")
        rng.shuffle(shown)
        for check in self.checks:
            shown.insert(rng.randint(min(1, len(shown)), len(shown)), check.turned(seat))
        return shown


def save(folder: Path, plan: Plan, key: dict[str, Any]) -> None:
    """Write the plan, and the key readable only by its owner; each appears whole or not at all."""
    _write(folder / KEY, {"format": FORMAT, **key})
    os.chmod(folder / KEY, 0o600)
    _write(folder / PLAN, {"format": FORMAT, **asdict(plan)})


def load(folder: Path) -> Plan:
    """The plan of a study; InputError if there is none or it is damaged."""
    held = _read(folder, PLAN)
    try:
        trials, checks = (tuple(_trial(row) for row in held.pop(name)) for name in ("trials", "checks"))
        held.pop("format")
        plan = Plan(**{**held, "questions": tuple(held["questions"]), "trials": trials, "checks": checks})
        _ = plan.rules
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / PLAN}: is not the plan of a study ({error}).") from error
    return plan


def load_key(folder: Path) -> dict[str, Any]:
    """What the names stand for; InputError if it is missing, for without it nothing can be counted."""
    return _read(folder, KEY)


def _trial(row: dict[str, Any]) -> Trial:
    return Trial(**{**row, "edits": tuple(row["edits"])})


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        held = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder}: has no {name}; eve rate make writes a study.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / name}: cannot be read ({error}).") from error
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        raise InputError(f"{folder / name}: is of another version of eve; make the study again.")
    return held


def _write(path: Path, value: dict[str, Any]) -> None:
    file = AtomicFile(str(path))
    file.path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    file.commit()


def names(rng: random.Random, count: int) -> Sequence[str]:
    """Names of files that tell nothing: random hexadecimals, all different."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[f"{rng.getrandbits(64):016x}.mp4"] = None
    return list(found)
