"""Scores edits: every metric for every edit of every method; scores are appended to a file as they are computed."""

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
from eve_cli.evaluation import page_videos
from eve_cli.evaluation.clip_loader import ClipLoader, FrameSelection, LoadedEdit
from eve_cli.evaluation.metrics import METRICS
from eve_cli.evaluation.metrics.base import Cache, Column, EditClip, Metric
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
# The message for each input that a metric needs and a pair lacks.
ABSENT = {
    "source": "the source does not exist",
    "captions": "no captions are given",
    "mask": "no mask is given",
    "truth": "the true edit is not given",
}


@dataclass(frozen=True)
class SelectedMetrics:
    """The metrics of a run that can run, and the reasons why others cannot."""

    ready: Mapping[str, Metric]
    not_run: Mapping[str, str]

    @property
    def columns(self) -> list[Column]:
        """All columns, in the order of the table of metrics."""
        return [column for metric in self.ready.values() for column in metric.columns]


def select_metrics(metrics: str, weights: Weights, device: str, pairs: Sequence[Pair]) -> SelectedMetrics:
    """The metrics named in `metrics` (metrics and groups, separated by commas) for these pairs; loads no network."""
    ready, not_run = {}, {}
    for name in expand_groups(metrics):
        metric: Metric = registry.pick(METRICS, name, "metric")(weights, device)
        absent = set.intersection(*(missing_inputs(metric, pair) for pair in pairs)) if pairs else set()
        reason = ABSENT[min(absent)] if absent else metric.missing()
        if reason is None:
            ready[name] = metric
        else:
            not_run[name] = reason
    columns = [column.name for metric in ready.values() for column in metric.columns]
    if duplicates := {name for name in columns if columns.count(name) > 1}:
        raise UsageError(f"Several of these metrics have a column {min(duplicates)}; select fewer with --metrics.")
    return SelectedMetrics(ready, not_run)


def expand_groups(metrics: str) -> list[str]:
    """Metrics and groups as metrics, each once: `all`, `core` (those without a network), and the rows of GROUPS."""
    names: list[str] = []
    for name in filter(None, (part.strip() for part in metrics.split(","))):
        if name == "core":
            names += [each for each in METRICS if "weights" not in registry.load(METRICS[each]).needs]
        else:
            names += METRICS if name == "all" else GROUPS.get(name, [name])
    return list(dict.fromkeys(names))


def missing_inputs(metric: Metric, pair: Pair) -> set[str]:
    """The inputs that a metric needs and a pair lacks."""
    present = {
        "source": pair.source.exists(),
        "captions": bool(pair.output_caption),
        "mask": pair.mask is not None or pair.truth is not None,
        "truth": pair.reference is not None,
        "weights": True,  # checked by Metric.missing
    }
    return {need for need in metric.needs if not present[need]}


@dataclass
class Scorer:
    """Scores edits into a folder of results; a score is stored under a hash of the contents it depends on."""

    folder: Path
    selection: FrameSelection = field(default_factory=FrameSelection)
    videos: bool = True
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    salt: str = ""  # identifies the networks in use, on which the scores of some metrics depend

    def score(self, eval_set: EvalSet, metrics: SelectedMetrics, progress: Progress = lambda done, of: None) -> Results:
        """Scores every edit of every method by every metric; stored scores are not computed again."""
        self.scores = dict(self._stored_scores())
        rows = {
            (method, pair.id): EditScores(method, pair.id, pair.video, pair.task)
            for method, pairs in eval_set.methods.items()
            for pair in pairs
        }
        order = [(method, pairs[i]) for i in range(len(eval_set.pairs)) for method, pairs in eval_set.methods.items()]
        todo = [(method, pair) for method, pair in order if self._pending(pair, metrics)]
        if any(pair.edited and self._keys(pair, metrics).keys() - self.scores.keys() for _, pair in todo):
            for metric in metrics.ready.values():
                metric.open()
        loader = ClipLoader(self.selection, Cache(self.folder / FEATURES))
        for done, loaded in enumerate(loader.load_all(todo), 1):
            self._score_edit(loaded, metrics, rows[loaded.method, loaded.pair.id])
            progress(done, len(todo))
        for method, pair in order:
            self._collect(pair, metrics, rows[method, pair.id])
        return Results(
            metrics.columns, {name: [rows[name, pair.id] for pair in pairs] for name, pairs in eval_set.methods.items()}
        )

    def _pending(self, pair: Pair, metrics: SelectedMetrics) -> bool:
        """Whether a score or a video of an edit is still missing."""
        if pair.edited is None:
            return True
        videos = self.video_paths(pair).values() if self.videos else ()
        return any(key not in self.scores for key in self._keys(pair, metrics)) or not all(p.is_file() for p in videos)

    def _score_edit(self, loaded: LoadedEdit, metrics: SelectedMetrics, row: EditScores) -> None:
        if loaded.clip is None:
            row.error = loaded.error
            return
        if self.videos:
            page_videos.write_missing(loaded.clip, self.video_paths(loaded.pair))
        clip, reasons, shared = loaded.clip, [], len(loaded.clip.notes)
        for key, name in self._keys(loaded.pair, metrics).items():
            if key in self.scores:
                continue
            metric, first_note = metrics.ready[name], len(clip.notes)
            try:
                values = score_clip(metric, clip)
            except OutOfMemory:
                raise
            except EveError as error:
                reasons.append(f"{name}: {error}")
                continue
            self.scores[key] = {
                "frames": len(clip.edited),
                "values": values,
                "notes": clip.notes[:shared] + clip.notes[first_note:],
            }
            head = {"key": key, "method": row.method, "id": row.id, "metric": name}
            jsonl.append(self.folder / SCORES, head | self.scores[key])
        row.error = "; ".join(reasons)

    def _collect(self, pair: Pair, metrics: SelectedMetrics, row: EditScores) -> None:
        for key, name in self._keys(pair, metrics).items() if pair.edited else ():
            stored = self.scores.get(key, {"values": {}, "notes": [], "frames": row.frames})
            row.frames = stored["frames"]
            for column in metrics.ready[name].columns:
                row.values[column.name] = float(stored["values"].get(column.name, math.nan))
            row.notes += [note for note in stored["notes"] if note not in row.notes]

    def _keys(self, pair: Pair, metrics: SelectedMetrics) -> dict[str, str]:
        """The key of each metric's scores of an edit -> the name of the metric."""
        content = [self._hash(path) for path in (pair.source, pair.edited, pair.mask, pair.reference, pair.truth)]
        texts = [pair.task, pair.instruction, pair.input_caption, pair.output_caption]
        inputs = [content, texts, self.selection.align, self.selection.max_frames]
        return {
            _sha(
                json.dumps([*inputs, name, [column.recipe for column in metric.columns], self._networks(metric)])
            ): name
            for name, metric in metrics.ready.items()
        }

    def _networks(self, metric: Metric) -> str:
        return self.salt if "weights" in metric.needs else ""

    def video_paths(self, pair: Pair) -> dict[str, Path]:
        """The paths of an edit's videos for the page: source, edited, reference."""
        paths = {"source": pair.source, "edited": pair.edited, "reference": pair.reference}
        video_dir, source = self.folder / page_videos.FOLDER, self._hash(pair.source)
        selection = [self.selection.align, self.selection.max_frames]
        return {
            name: video_dir / f"{_sha(json.dumps([self._hash(path), source, *selection]))[:16]}.mp4"
            for name, path in paths.items()
            if path is not None and path.exists()
        }

    def _hash(self, path: Path | None) -> str:
        return "" if path is None or not path.exists() else content_sha256(path)

    def _stored_scores(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The stored scores by key; truncated lines are skipped."""
        for line in jsonl.read_log(self.folder / SCORES):
            try:
                yield line["key"], {name: line[name] for name in ("frames", "values", "notes")}  # pyright: ignore
            except (KeyError, TypeError):
                continue


def score_clip(metric: Metric, clip: EditClip) -> dict[str, float]:
    """A metric's values; NaN with a note where the pair lacks an input. EveError if the metric fails on this clip."""
    if absent := missing_inputs(metric, clip.pair):
        for need in sorted(absent):
            clip.note(f"{metric.columns[0].recipe}: {ABSENT[need]}")
        return {column.name: math.nan for column in metric.columns}
    try:
        return {name: float(value) for name, value in metric.score(clip).items()}
    except EveError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            raise OutOfMemory("Not enough memory for these metrics; try --max-frames or fewer --metrics.") from error
        raise EveError(f"{type(error).__name__}: {error}") from error


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
