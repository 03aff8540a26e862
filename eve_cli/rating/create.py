"""Making a study: which edits meet, on which side, under which opaque name, and the trials that catch sleepers."""

from __future__ import annotations

import os
import random
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations, cycle
from itertools import count as count_from
from pathlib import Path
from typing import Any

from eve_cli.errors import InputError, OutputError, UsageError
from eve_cli.rating import clips, study, systems
from eve_cli.rating.settings import MakeSettings
from eve_cli.rating.study import OBVIOUS, SAME, Plan, Trial
from eve_cli.rating.systems import Item

LEAST_CHECKS = 3  # two obvious ones, with the better clip on different sides, and one of equal clips
SOURCE, WRECKED = "(source)", "(wrecked)"
UNEVEN = 0.1  # share by which an edit may be longer or shorter than its source


@dataclass(frozen=True)
class Shown:
    """A trial before its files have names: what is seen beside the source, in order."""

    item: Item
    edits: tuple[tuple[str, Path], ...]  # system, file
    kind: str = ""
    good: tuple[int, ...] = ()


@dataclass
class Draft:
    """All that a study will hold, before any video is written."""

    systems: tuple[str, ...]
    items: list[Item]
    left_out: int
    trials: list[Shown]
    checks: list[Shown] = field(default_factory=list)

    @property
    def rated(self) -> int:
        """Trials that one comparison of systems (or one system's scores) gets at most."""
        met = [tuple(sorted(name for name, _ in trial.edits)) for trial in self.trials]
        return max(met.count(each) for each in set(met))


def draft(settings: MakeSettings) -> Draft:
    """What will be shown; InputError where the systems have nothing in common."""
    found = systems.gather(settings.named, settings.data)
    rules = settings.rules
    if len(found) < 2 and not rules.scores:
        raise UsageError(f"--mode {settings.mode} compares systems; name two or more.")
    if settings.mode == "best" and len(found) > 9:
        raise UsageError("--mode best shows at most 9 systems; --mode pairwise takes any number.")
    needed = rules.shown or len(found)
    items, left_out = systems.join(found, needed)
    if not items:
        raise InputError(f"No edit has a source and results of {needed} systems; see that their ids are the same.")
    items = systems.drawn(items, settings.limit, settings.seed)
    rng = random.Random(f"{settings.seed} trials")
    trials = [trial for group in _groups(items, tuple(found), needed) for trial in _balanced(group, needed, rng)]
    rng.shuffle(trials)
    seen = min(settings.each or len(trials), len(trials))
    checks = _checks(trials, items, max(LEAST_CHECKS, round(settings.catch * seen)) if settings.catch else 0, rng)
    return Draft(tuple(found), items, left_out, trials, checks)


def _groups(items: Sequence[Item], names: Sequence[str], shown: int) -> list[list[tuple[Item, tuple[str, ...]]]]:
    """For each set of systems that meet, the items in which they can."""
    sets = list(combinations(names, shown))
    return [[(item, met) for item in items if all(name in item.edits for name in met)] for met in sets]


def _balanced(group: list[tuple[Item, tuple[str, ...]]], shown: int, rng: random.Random) -> list[Shown]:
    """The trials of a group: each system stands at each place equally often, as far as the number allows."""
    turns = [n % shown for n in range(len(group))]
    rng.shuffle(turns)
    trials = []
    for (item, met), turn in zip(group, turns, strict=True):
        order = (*met[turn:], *met[:turn])
        trials.append(Shown(item, tuple((name, item.edits[name]) for name in order)))
    return trials


def _checks(trials: Sequence[Shown], items: Sequence[Item], count: int, rng: random.Random) -> list[Shown]:
    """Trials whose answer is known: a real edit beside wrecks of another video, and the same clip on all sides.

    Where one edit is scored, the wreck must score low, and the source itself must score high as kept.
    """
    found: list[Shown] = []
    places = count_from(rng.randrange(9))  # the better clip moves on by one place each time
    for kind, trial in zip(cycle((OBVIOUS, SAME)), rng.sample(trials, min(count, len(trials))), strict=False):
        shown, item = len(trial.edits), trial.item
        real = trial.edits[0] if shown > 1 else (SOURCE, item.source)
        others = [other for other in items if other.video != item.video] or [item]
        wreck = (WRECKED, rng.choice(others).source)
        if kind == SAME:
            found.append(Shown(item, (real,) * shown, kind))
        else:
            place = next(places) % shown
            edits = tuple(real if n == place and shown > 1 else wreck for n in range(shown))
            found.append(Shown(item, edits, kind, (place,) if shown > 1 else ()))
    return found


@dataclass
class Written:
    """What a study came to: its plan, and notes for whoever made it."""

    plan: Plan
    notes: list[str]


class Writer:
    """Writes the videos of a draft under names that tell nothing, then the plan and the key."""

    def __init__(self, settings: MakeSettings, made: Draft) -> None:
        self._settings, self._draft = settings, made
        self._folder = settings.out / study.MEDIA
        everything = [*made.trials, *made.checks]
        wanted = [(SOURCE, shown.item.source, "") for shown in made.trials]
        wanted += [(name, path, "") for shown in made.trials for name, path in shown.edits]
        # Each side of a catch trial is a file of its own: equal names would tell.
        wanted += [
            (name, path, f"{n}.{place}")
            for n, shown in enumerate(made.checks)
            for place, (name, path) in enumerate(shown.edits)
        ]
        self._rng = random.Random(f"{settings.seed} names")
        distinct = list(dict.fromkeys(wanted))
        self._rng.shuffle(distinct)  # also the order in which they are written: times of files tell nothing either
        self._names = dict(zip(distinct, study.names(self._rng, len(distinct)), strict=True))
        numbers = list(range(1, len(everything) + 1))
        self._rng.shuffle(numbers)
        self._ids = [f"t{number:04d}" for number in numbers]
        self._lengths: dict[str, Fraction] = {}
        self._rates: dict[Path, Fraction] = {}

    @property
    def videos(self) -> int:
        """How many will be written."""
        return len(self._names)

    def write(self, progress: Callable[[int], None]) -> Written:
        """All of it. The plan comes last, so that what was interrupted is no study; OutputError if there is one."""
        out = self._settings.out
        if (out / study.PLAN).exists():
            raise OutputError(f"{out} holds a study already; choose another --out.")
        if out.exists() and any(out.glob("answers-*")):
            raise OutputError(f"{out} holds answers of raters; choose another --out.")
        shutil.rmtree(self._folder, ignore_errors=True)
        try:
            self._folder.mkdir(parents=True)
        except OSError as error:
            raise OutputError(f"{self._folder}: cannot be made ({error.strerror}).") from error
        sources = {path: shown.item.source for shown in self._everything for _, path in shown.edits}
        for done, ((system, path, _), name) in enumerate(self._names.items(), 1):
            self._lengths[name] = self._encode(system, path, sources.get(path, path), self._folder / name)
            os.utime(self._folder / name, (0, 0))
            progress(done)
        plan = self._plan()
        study.save(out, plan, self._key(plan))
        return Written(plan, self._notes())

    @property
    def _everything(self) -> list[Shown]:
        return [*self._draft.trials, *self._draft.checks]

    def _encode(self, system: str, path: Path, source: Path, target: Path) -> Fraction:
        fps = self._rate(source)
        if system == WRECKED:
            return clips.wreck(path, target, self._rate(path))
        return clips.encode(path, target, self._settings.size, fps)

    def _rate(self, source: Path) -> Fraction:
        if source not in self._rates:
            self._rates[source] = clips.rate(source) or Fraction(self._settings.fps).limit_denominator(1000)
        return self._rates[source]

    def _plan(self) -> Plan:
        made, settings = self._draft, self._settings
        trials = [self._trial(number, shown) for number, shown in enumerate(self._everything)]
        count = len(made.trials)
        return Plan(
            study=secrets.token_hex(4),
            mode=settings.mode,
            ties=settings.ties,
            questions=tuple(question.id for question in settings.asked),
            each=settings.each,
            order=self._rng.getrandbits(32),
            trials=tuple(sorted(trials[:count], key=lambda trial: trial.id)),
            checks=tuple(sorted(trials[count:], key=lambda trial: trial.id)),
        )

    def _trial(self, number: int, shown: Shown) -> Trial:
        item = shown.item
        source, edits = self._names[SOURCE, item.source, ""], self._edits(number, shown)
        return Trial(self._ids[number], item.caption, item.instruction, source, edits, float(self._rate(item.source)))

    def _edits(self, number: int, shown: Shown) -> tuple[str, ...]:
        check = number - len(self._draft.trials)
        places = [f"{check}.{place}" if check >= 0 else "" for place in range(len(shown.edits))]
        return tuple(self._names[name, path, place] for (name, path), place in zip(shown.edits, places, strict=True))

    def _key(self, plan: Plan) -> dict[str, Any]:
        rows, checks = {}, {}
        for number, shown in enumerate(self._everything):
            edits, item = self._edits(number, shown), shown.item
            rows[self._ids[number]] = {"item": item.id, "video": item.video, "task": item.task}
            if shown.kind:
                checks[self._ids[number]] = {"kind": shown.kind, "good": [edits[place] for place in shown.good]}
        return {
            "study": plan.study,
            "seed": self._settings.seed,
            "systems": list(self._draft.systems),
            "media": {name: {"system": key[0], "file": str(key[1])} for key, name in self._names.items()},
            "trials": rows,
            "checks": checks,
        }

    def _notes(self) -> list[str]:
        uneven = {name: 0 for name in self._draft.systems}
        for shown in self._draft.trials:
            length = self._lengths[self._names[SOURCE, shown.item.source, ""]]
            for name, path in shown.edits:
                uneven[name] += abs(self._lengths[self._names[name, path, ""]] - length) > UNEVEN * length
        return [
            f"{name}: {n} edits are not as long as their source; raters will see it" for name, n in uneven.items() if n
        ]
