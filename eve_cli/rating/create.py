"""Creates a study: which edits are compared, in which position, under which opaque name, and the catch trials."""

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
from eve_cli.rating.settings import CreateSettings
from eve_cli.rating.study import OBVIOUS, SAME, Plan, Trial
from eve_cli.rating.systems import Item

MIN_CHECKS = 3  # two obvious ones, with the better clip in different positions, and one of equal clips
SOURCE, PIXELATED = "(source)", "(pixelated)"
LENGTH_TOLERANCE = 0.1  # share by which an edit may be longer or shorter than its source


@dataclass(frozen=True)
class TrialDraft:
    """A trial before its files have opaque names: the edits beside the source, in the order on screen."""

    item: Item
    edits: tuple[tuple[str, Path], ...]  # system, file
    kind: str = ""
    good: tuple[int, ...] = ()


@dataclass
class StudyDraft:
    """All contents of a study before any video is written."""

    systems: tuple[str, ...]
    items: list[Item]
    skipped: int
    trials: list[TrialDraft]
    checks: list[TrialDraft] = field(default_factory=list)

    @property
    def trials_per_comparison(self) -> int:
        """The largest number of trials of one comparison of systems (or of one system's scores)."""
        compared = [tuple(sorted(name for name, _ in trial.edits)) for trial in self.trials]
        return max(compared.count(each) for each in set(compared))


def draft(settings: CreateSettings) -> StudyDraft:
    """Plans the trials; UsageError for too few or too many systems, InputError where they have no edit in common."""
    loaded = systems.load_systems(settings.system_paths, settings.data)
    rules = settings.rules
    if len(loaded) < 2 and not rules.scores:
        raise UsageError(f"--mode {settings.mode} compares systems; give two or more.")
    if settings.mode == "best" and len(loaded) > 9:
        raise UsageError("--mode best shows at most 9 systems; --mode pairwise takes any number.")
    needed = rules.shown or len(loaded)
    items, skipped = systems.common_items(loaded, needed)
    if not items:
        raise InputError(f"No edit has a source and results of {needed} systems; do their ids agree?")
    items = systems.sample_items(items, settings.limit, settings.seed)
    rng = random.Random(f"{settings.seed} trials")
    trials = [trial for group in _groups(items, tuple(loaded), needed) for trial in _balanced(group, needed, rng)]
    rng.shuffle(trials)
    trials_per_rater = min(settings.each or len(trials), len(trials))
    checks = _checks(
        trials, items, max(MIN_CHECKS, round(settings.catch * trials_per_rater)) if settings.catch else 0, rng
    )
    return StudyDraft(tuple(loaded), items, skipped, trials, checks)


def _groups(items: Sequence[Item], names: Sequence[str], shown: int) -> list[list[tuple[Item, tuple[str, ...]]]]:
    """For each set of systems to compare, the items that all of them have."""
    sets = list(combinations(names, shown))
    return [[(item, group) for item in items if all(name in item.edits for name in group)] for group in sets]


def _balanced(group: list[tuple[Item, tuple[str, ...]]], shown: int, rng: random.Random) -> list[TrialDraft]:
    """The trials of a group; each system takes each position equally often, as far as the number allows."""
    rotations = [n % shown for n in range(len(group))]
    rng.shuffle(rotations)
    trials = []
    for (item, names), rotation in zip(group, rotations, strict=True):
        order = (*names[rotation:], *names[:rotation])
        trials.append(TrialDraft(item, tuple((name, item.edits[name]) for name in order)))
    return trials


def _checks(trials: Sequence[TrialDraft], items: Sequence[Item], count: int, rng: random.Random) -> list[TrialDraft]:
    """Trials with a known answer: a real edit beside pixelated clips of another video, or the same clip everywhere.

    Where single edits are scored, the pixelated clip must score low, and the source itself high for preservation.
    """
    checks: list[TrialDraft] = []
    positions = count_from(rng.randrange(9))  # of the better clip, one further each time
    for kind, trial in zip(cycle((OBVIOUS, SAME)), rng.sample(trials, min(count, len(trials))), strict=False):
        shown, item = len(trial.edits), trial.item
        real = trial.edits[0] if shown > 1 else (SOURCE, item.source)
        other_items = [other for other in items if other.video != item.video] or [item]
        pixelated = (PIXELATED, rng.choice(other_items).source)
        if kind == SAME:
            checks.append(TrialDraft(item, (real,) * shown, kind))
        else:
            position = next(positions) % shown
            edits = tuple(real if n == position and shown > 1 else pixelated for n in range(shown))
            checks.append(TrialDraft(item, edits, kind, (position,) if shown > 1 else ()))
    return checks


@dataclass
class WrittenStudy:
    """The plan of a written study, and notes for its author."""

    plan: Plan
    notes: list[str]


class StudyWriter:
    """Writes the videos of a draft under opaque names, then the plan and the key."""

    def __init__(self, settings: CreateSettings, draft: StudyDraft) -> None:
        self._settings, self._draft = settings, draft
        self._folder = settings.out / study.MEDIA
        all_trials = [*draft.trials, *draft.checks]
        clips_needed = [(SOURCE, trial.item.source, "") for trial in draft.trials]
        clips_needed += [(name, path, "") for trial in draft.trials for name, path in trial.edits]
        # Each side of a catch trial is a separate file: equal names would reveal it.
        clips_needed += [
            (name, path, f"{n}.{position}")
            for n, trial in enumerate(draft.checks)
            for position, (name, path) in enumerate(trial.edits)
        ]
        self._rng = random.Random(f"{settings.seed} names")
        distinct = list(dict.fromkeys(clips_needed))
        self._rng.shuffle(distinct)  # also the order of writing, so that file times reveal nothing
        self._names = dict(zip(distinct, study.opaque_names(self._rng, len(distinct)), strict=True))
        numbers = list(range(1, len(all_trials) + 1))
        self._rng.shuffle(numbers)
        self._ids = [f"t{number:04d}" for number in numbers]
        self._lengths: dict[str, Fraction] = {}
        self._rates: dict[Path, Fraction] = {}

    @property
    def videos(self) -> int:
        """The number of videos to write."""
        return len(self._names)

    def write(self, progress: Callable[[int], None]) -> WrittenStudy:
        """Writes the study, the plan last, so that an interrupted study is not served; OutputError if one exists."""
        out = self._settings.out
        if (out / study.PLAN).exists():
            raise OutputError(f"{out} contains a study already; choose another --out.")
        if out.exists() and any(out.glob("answers-*")):
            raise OutputError(f"{out} contains answers of raters; choose another --out.")
        shutil.rmtree(self._folder, ignore_errors=True)
        try:
            self._folder.mkdir(parents=True)
        except OSError as error:
            raise OutputError(f"{self._folder}: cannot be created ({error.strerror}).") from error
        sources = {path: trial.item.source for trial in self._all_trials for _, path in trial.edits}
        for done, ((system, path, _), name) in enumerate(self._names.items(), 1):
            self._lengths[name] = self._encode(system, path, sources.get(path, path), self._folder / name)
            os.utime(self._folder / name, (0, 0))
            progress(done)
        plan = self._plan()
        study.save(out, plan, self._key(plan))
        return WrittenStudy(plan, self._notes())

    @property
    def _all_trials(self) -> list[TrialDraft]:
        return [*self._draft.trials, *self._draft.checks]

    def _encode(self, system: str, path: Path, source: Path, target: Path) -> Fraction:
        fps = self._rate(source)
        if system == PIXELATED:
            return clips.pixelate(path, target, self._rate(path))
        return clips.encode(path, target, self._settings.size, fps)

    def _rate(self, source: Path) -> Fraction:
        if source not in self._rates:
            self._rates[source] = clips.frame_rate(source) or Fraction(self._settings.fps).limit_denominator(1000)
        return self._rates[source]

    def _plan(self) -> Plan:
        settings, count = self._settings, len(self._draft.trials)
        trials = [self._trial(number, trial) for number, trial in enumerate(self._all_trials)]
        return Plan(
            study=secrets.token_hex(4),
            mode=settings.mode,
            ties=settings.ties,
            questions=tuple(question.id for question in settings.selected_questions),
            each=settings.each,
            order=self._rng.getrandbits(32),
            trials=tuple(sorted(trials[:count], key=lambda trial: trial.id)),
            checks=tuple(sorted(trials[count:], key=lambda trial: trial.id)),
        )

    def _trial(self, number: int, trial: TrialDraft) -> Trial:
        item = trial.item
        source, edits = self._names[SOURCE, item.source, ""], self._edits(number, trial)
        return Trial(self._ids[number], item.caption, item.instruction, source, edits, float(self._rate(item.source)))

    def _edits(self, number: int, trial: TrialDraft) -> tuple[str, ...]:
        check = number - len(self._draft.trials)
        positions = [f"{check}.{position}" if check >= 0 else "" for position in range(len(trial.edits))]
        return tuple(
            self._names[name, path, position] for (name, path), position in zip(trial.edits, positions, strict=True)
        )

    def _key(self, plan: Plan) -> dict[str, Any]:
        rows, checks = {}, {}
        for number, trial in enumerate(self._all_trials):
            edits, item = self._edits(number, trial), trial.item
            rows[self._ids[number]] = {"item": item.id, "video": item.video, "task": item.task}
            if trial.kind:
                checks[self._ids[number]] = {"kind": trial.kind, "good": [edits[position] for position in trial.good]}
        return {
            "study": plan.study,
            "seed": self._settings.seed,
            "systems": list(self._draft.systems),
            "media": {name: {"system": key[0], "file": str(key[1])} for key, name in self._names.items()},
            "trials": rows,
            "checks": checks,
        }

    def _notes(self) -> list[str]:
        mismatched = {name: 0 for name in self._draft.systems}
        for trial in self._draft.trials:
            length = self._lengths[self._names[SOURCE, trial.item.source, ""]]
            for name, path in trial.edits:
                mismatched[name] += abs(self._lengths[self._names[name, path, ""]] - length) > LENGTH_TOLERANCE * length
        return [
            f"{name}: {n} edits are not as long as their source, which raters can notice"
            for name, n in mismatched.items()
            if n
        ]
