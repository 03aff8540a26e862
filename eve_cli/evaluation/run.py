"""An evaluation: every metric for every edit of every method, kept as it goes, then told."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eve_cli import registry
from eve_cli.errors import EveError, OutOfMemory, UsageError
from eve_cli.evaluation import media
from eve_cli.evaluation.judging import Loaded, Loader, Rule
from eve_cli.evaluation.metrics import METRICS
from eve_cli.evaluation.metrics.base import Cache, Column, Judged, Metric
from eve_cli.evaluation.pairs import Pair
from eve_cli.evaluation.results import EditScores, Results
from eve_cli.evaluation.sets import EvalSet
from eve_cli.evaluation.weights import Weights
from eve_cli.storage import jsonl
from eve_cli.storage.hashing import content_sha256

SCORES, FEATURES = "scores.jsonl", "features"
Progress = Callable[[int, int], None]
# The columns of EVE's tables, and of the official script of TGVE.
GROUPS = {"tgve": ["clip_frame", "clip_text", "pick_score"], "eve": ["pick_score", "clip_frame", "viclip"]}
# What a pair must have for a metric, and how its absence is told.
ABSENT = {
    "source": "no source is there",
    "captions": "no captions are known",
    "mask": "no masks are known",
    "truth": "the true edit is not known",
}


@dataclass(frozen=True)
class Judges:
    """The metrics of a run that can run, and why the others cannot."""

    ready: Mapping[str, Metric]
    not_run: Mapping[str, str]

    @property
    def columns(self) -> list[Column]:
        """All columns, in the order of the table of metrics."""
        return [column for metric in self.ready.values() for column in metric.columns]


def judges(asked: str, weights: Weights, device: str, pairs: Sequence[Pair]) -> Judges:
    """The metrics that `asked` names (metrics and groups, separated by commas), for these pairs; loads no network."""
    ready, not_run = {}, {}
    for name in named(asked):
        metric: Metric = registry.pick(METRICS, name, "metric")(weights, device)
        lacking = set.intersection(*(missing_of(metric, pair) for pair in pairs)) if pairs else set()
        reason = ABSENT[sorted(lacking)[0]] if lacking else metric.missing()
        if reason is None:
            ready[name] = metric
        else:
            not_run[name] = reason
    found = [column.name for metric in ready.values() for column in metric.columns]
    if twice := {name for name in found if found.count(name) > 1}:
        raise UsageError(f"Several of these metrics have a column {min(twice)}; name fewer with --metrics.")
    return Judges(ready, not_run)


def named(asked: str) -> list[str]:
    """Metrics and groups as metrics, each once: `all`, `core` (those without a network), and the rows of GROUPS."""
    found: list[str] = []
    for name in filter(None, (part.strip() for part in asked.split(","))):
        if name == "core":
            found += [each for each in METRICS if "weights" not in registry.load(METRICS[each]).needs]
        else:
            found += METRICS if name == "all" else GROUPS.get(name, [name])
    return list(dict.fromkeys(found))


def missing_of(metric: Metric, pair: Pair) -> set[str]:
    """Which of a metric's needs a pair does not meet."""
    has = {
        "source": pair.source.exists(),
        "captions": bool(pair.output_caption),
        "mask": pair.mask is not None or pair.truth is not None,
        "truth": pair.reference is not None,
        "weights": True,  # that is for the metric to say
    }
    return {need for need in metric.needs if not has[need]}


@dataclass
class Run:
    """The work on an evaluation's folder: scores are appended as they are found, and kept by what they are of."""

    folder: Path
    rule: Rule = field(default_factory=Rule)
    videos: bool = True
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    salt: str = ""  # the networks that are here, on which the scores of some metrics depend

    def score(self, asked: EvalSet, judges: Judges, progress: Progress = lambda done, of: None) -> Results:
        """Every edit of every method by every metric; what the folder holds already is not computed again."""
        self.kept = dict(self._read())
        rows = {
            (method, pair.id): EditScores(method, pair.id, pair.video, pair.task)
            for method, pairs in asked.methods.items()
            for pair in pairs
        }
        order = [(method, pairs[i]) for i in range(len(asked.pairs)) for method, pairs in asked.methods.items()]
        todo = [(method, pair) for method, pair in order if self._open(pair, judges)]
        if any(pair.edited and self._keys(pair, judges).keys() - self.kept.keys() for _, pair in todo):
            for metric in judges.ready.values():
                metric.open()
        loader = Loader(self.rule, Cache(self.folder / FEATURES))
        for done, loaded in enumerate(loader.load_all(todo), 1):
            self._judge(loaded, judges, rows[loaded.method, loaded.pair.id])
            progress(done, len(todo))
        for method, pair in order:
            self._collect(pair, judges, rows[method, pair.id])
        return Results(
            judges.columns, {name: [rows[name, pair.id] for pair in pairs] for name, pairs in asked.methods.items()}
        )

    def _open(self, pair: Pair, judges: Judges) -> bool:
        """Whether there is anything left to do for an edit."""
        if pair.edited is None:
            return True
        shown = self.shown(pair).values() if self.videos else ()
        return any(key not in self.kept for key in self._keys(pair, judges)) or not all(p.is_file() for p in shown)

    def _judge(self, loaded: Loaded, judges: Judges, row: EditScores) -> None:
        if loaded.clip is None:
            row.error = loaded.error
            return
        if self.videos:
            media.show(loaded.clip, self.shown(loaded.pair))
        clip, reasons, shared = loaded.clip, [], len(loaded.clip.notes)
        for key, name in self._keys(loaded.pair, judges).items():
            if key in self.kept:
                continue
            metric, own = judges.ready[name], len(clip.notes)
            try:
                values = scored(metric, clip)
            except OutOfMemory:
                raise
            except EveError as error:
                reasons.append(f"{name}: {error}")
                continue
            self.kept[key] = {
                "frames": len(clip.edited),
                "values": values,
                "notes": clip.notes[:shared] + clip.notes[own:],
            }
            told = {"key": key, "method": row.method, "id": row.id, "metric": name}
            jsonl.append(self.folder / SCORES, told | self.kept[key])
        row.error = "; ".join(reasons)

    def _collect(self, pair: Pair, judges: Judges, row: EditScores) -> None:
        for key, name in self._keys(pair, judges).items() if pair.edited else ():
            found = self.kept.get(key, {"values": {}, "notes": [], "frames": row.frames})
            row.frames = found["frames"]
            for column in judges.ready[name].columns:
                row.values[column.name] = float(found["values"].get(column.name, math.nan))
            row.notes += [note for note in found["notes"] if note not in row.notes]

    def _keys(self, pair: Pair, judges: Judges) -> dict[str, str]:
        """The key of each metric's scores of an edit -> the metric."""
        content = [self._hash(path) for path in (pair.source, pair.edited, pair.mask, pair.reference, pair.truth)]
        texts = [pair.task, pair.instruction, pair.input_caption, pair.output_caption]
        told = [content, texts, self.rule.align, self.rule.max_frames]
        return {
            _sha(json.dumps([*told, name, [column.recipe for column in metric.columns], self._networks(metric)])): name
            for name, metric in judges.ready.items()
        }

    def _networks(self, metric: Metric) -> str:
        return self.salt if "weights" in metric.needs else ""

    def shown(self, pair: Pair) -> dict[str, Path]:
        """Where the videos of an edit lie for the page: source, edited, reference."""
        paths = {"source": pair.source, "edited": pair.edited, "reference": pair.reference}
        home, source = self.folder / media.FOLDER, self._hash(pair.source)
        return {
            name: home
            / f"{_sha(json.dumps([self._hash(path), source, self.rule.align, self.rule.max_frames]))[:16]}.mp4"
            for name, path in paths.items()
            if path is not None and path.exists()
        }

    def _hash(self, path: Path | None) -> str:
        return "" if path is None or not path.exists() else content_sha256(path)

    def _read(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The scores that were kept; a line cut short is passed over."""
        for line in jsonl.read_log(self.folder / SCORES):
            try:
                yield line["key"], {name: line[name] for name in ("frames", "values", "notes")}  # pyright: ignore
            except (KeyError, TypeError):
                continue


def scored(metric: Metric, clip: Judged) -> dict[str, float]:
    """A metric's values; NaN with a note where the pair lacks what it needs. EveError if it fails on this clip."""
    if lacking := missing_of(metric, clip.pair):
        for need in sorted(lacking):
            clip.note(f"{metric.columns[0].recipe}: {ABSENT[need]}")
        return {column.name: math.nan for column in metric.columns}
    try:
        return {name: float(value) for name, value in metric.score(clip).items()}
    except EveError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            raise OutOfMemory(
                "There is not enough memory for these metrics; try --max-frames or fewer --metrics."
            ) from error
        raise EveError(f"{type(error).__name__}: {error}") from error


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
