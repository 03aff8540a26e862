"""Runs methods over clips: each model is loaded once, no edit is repeated, and a run can be resumed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eve_cli.data import tgve
from eve_cli.editing import pipeline
from eve_cli.editing.request import EditRequest
from eve_cli.errors import EveError, ModelError, OutOfMemory, UsageError
from eve_cli.evaluation import sets
from eve_cli.evaluation.alignment_table import ALIGNED_TASKS, HeldOutEdits
from eve_cli.evaluation.pairs import Pair
from eve_cli.evaluation.results import read_json, write_json
from eve_cli.evaluation.sets import COPIED, EvalSet
from eve_cli.evaluation.settings import BenchSettings
from eve_cli.media.decode import VideoReader
from eve_cli.methods.options import CaptionedOptions
from eve_cli.methods.registry import METHODS, check_parts, spec
from eve_cli.models import bundle_manifest as bundles
from eve_cli.models.loading import LoadedModel, load_model
from eve_cli.models.spec import ModelSpec
from eve_cli.settings import to_mapping
from eve_cli.storage.paths import expanded

ALL, BENCH, EDITS, CLIPS = "all", "bench.json", "edits", "clips"
# Settings that change an edit; a folder contains the edits of one choice of them.
EDITING = ("data", "model", "steps", "guidance_scale", "image_guidance_scale", "captions", "max_frames", "edit_seed")
WORLD = ("tasks", "each", "frames", "side")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Entry:
    """A row of the table: a method with a model, or a folder with the edits of another tool."""

    name: str
    method: str = ""
    model: str = ""
    folder: Path | None = None


def entries(methods: str, model: str) -> list[Entry]:
    """The rows of `--methods`; UsageError for an unknown method or a duplicate name."""
    rows: list[Entry] = []
    for item in _expand(methods):
        name, equals, _ = item.partition("=")
        if equals:
            rows.append(Entry(name, folder=sets.named_folders(item)[name]))
            continue
        method, _, entry_model = item.partition("@")
        spec(method)
        rows.append(Entry(COPIED if method == "copy" else item, method, entry_model or model))
    names = [entry.name for entry in rows]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"--methods {methods}: name at least one method, and each once.")
    return rows


def _expand(methods: str) -> Iterator[str]:
    """The rows one by one; `all` means every method, `all@MODEL` every method with that model."""
    for item in filter(None, (part.strip() for part in methods.split(","))):
        name, at, model = item.partition("@")
        if name == ALL:
            yield from (f"{method}{at}{model}" for method in METHODS if not at or method != "copy")
        else:
            yield item


def data(settings: BenchSettings) -> EvalSet:
    """The clips to edit, with their instructions."""
    if settings.data == "world":
        from eve_cli.evaluation.world_set import write_world_set

        tasks = tuple(filter(None, settings.tasks.split(","))) or ALIGNED_TASKS
        held_out = HeldOutEdits(tasks, settings.each, settings.frames, settings.side, settings.edit_seed)
        return write_world_set(settings.out / CLIPS, held_out).first(settings.limit)
    path = expanded(settings.data)
    if not path.exists():
        raise UsageError(f"--data {settings.data}: is neither `world` nor an existing file or folder.")
    if path.is_dir() or _is_tgve(path):
        return sets.from_tgve(path, {}, settings.instructions).first(settings.limit)
    return sets.from_manifest(path, column_map=settings.map).first(settings.limit)


def _is_tgve(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix == ".csv" and tgve.CAPTION.encode() in file.readline()


def check_folder(settings: BenchSettings) -> None:
    """Records the settings and models of the edits in the folder of results.

    UsageError if the folder contains edits with other settings; ModelError if a model lacks a part that a method needs.
    """
    names = EDITING + (WORLD if settings.data == "world" else ())
    current = {name: value for name, value in to_mapping(settings).items() if name in names}
    edited_entries = [entry for entry in entries(settings.methods, settings.model) if entry.method]
    for entry in edited_entries:
        check_parts(entry.method, entry.model, bundles.read(bundles.resolve(entry.model)).parts)
    models = {entry.model for entry in edited_entries}
    file = settings.out / BENCH
    record = read_json(file) if file.is_file() else {"settings": current, "models": {}}
    if changed := [name for name in names if record["settings"].get(name) != current[name]]:
        raise UsageError(
            f"{settings.out} contains edits made with another --{changed[0].replace('_', '-')}; choose another --out."
        )
    for model in sorted(models):
        files = bundles.read(bundles.resolve(model)).files
        hashes = {name: entry["sha256"] for name, entry in files.items()}
        if record["models"].setdefault(model, hashes) != hashes:
            raise UsageError(f"{settings.out} contains edits of another model {model}; choose another --out.")
    settings.out.mkdir(parents=True, exist_ok=True)
    write_json(file, record)


@dataclass
class BenchRunner:
    """Makes the edits that a folder of results lacks."""

    settings: BenchSettings
    progress: Progress = lambda name, done, of: None
    loaded: dict[ModelSpec, LoadedModel] = field(default_factory=dict)

    def run(self, eval_set: EvalSet) -> EvalSet:
        """The set with the edits of every method; failed edits have the reason in their notes.

        UsageError, before any model is loaded, if a method cannot make an edit.
        """
        methods, rows = {}, entries(self.settings.methods, self.settings.model)
        for entry in rows:
            if entry.folder is None:
                self.check(entry, eval_set.pairs)
        for entry in rows:
            if entry.folder is not None:
                methods |= _existing(eval_set, entry)
            elif entry.name == COPIED:
                methods[COPIED] = [replace(pair, edited=pair.source) for pair in eval_set.pairs]
            else:
                methods[entry.name] = self._make(entry, eval_set.pairs)
        return replace(eval_set, methods=methods).with_copy()

    def _make(self, entry: Entry, pairs: Sequence[Pair]) -> list[Pair]:
        edits_dir = self.settings.out / EDITS / safe_name(entry.name)
        edits_dir.mkdir(parents=True, exist_ok=True)
        files = [edits_dir / f"{safe_name(pair.id)}.mkv" for pair in pairs]
        missing = [file for file in files if not file.is_file()]
        results = []
        for number, (pair, file) in enumerate(zip(pairs, files, strict=True)):
            try:
                if file in missing:
                    pipeline.edit(self._request(entry, pair, file, number), load=self._load)
                results.append(replace(pair, edited=file))
            except (OutOfMemory, ModelError, UsageError):
                raise
            except EveError as error:
                results.append(replace(pair, edited=None, notes=f"the edit failed: {error}"))
            if file in missing:
                self.progress(entry.name, missing.index(file) + 1, len(missing))
        return results

    def check(self, entry: Entry, pairs: Sequence[Pair]) -> None:
        """UsageError with the method and the edit if the method cannot make the edit."""
        for pair in pairs:
            try:
                self._base_request(entry, pair)
            except UsageError as error:
                raise UsageError(f"--methods {entry.name} cannot do the edit {pair.id}: {error}") from error

    def _request(self, entry: Entry, pair: Pair, file: Path, number: int) -> EditRequest:
        return self._base_request(entry, pair).changed(
            output=file,
            overwrite=True,
            codec="ffv1",  # lossless, so that codec errors do not count against the method
            end=_end(pair.source, self.settings.max_frames),
            seed=self.settings.edit_seed * 1_000_003 + number,
        )

    def _base_request(self, entry: Entry, pair: Pair) -> EditRequest:
        settings, kind = self.settings, METHODS[entry.method].options
        captions = settings.captions or issubclass(kind, CaptionedOptions)  # some methods need them
        method_values: dict[str, Any] = (
            {"source_caption": pair.input_caption} if captions and pair.input_caption else {}
        )
        method_values = {name: value for name, value in method_values.items() if name in kind.__dataclass_fields__}
        values = {
            "input": str(pair.source),
            "instruction": pair.instruction or pair.output_caption,
            "method": entry.method,
            "model": entry.model,
            "steps": settings.steps,
            "guidance_scale": settings.guidance_scale,
            "image_guidance_scale": settings.image_guidance_scale,
            "caption": (pair.output_caption or None) if settings.captions else None,
            "device": settings.device,
        }
        return EditRequest.of(values | method_values, entry.name)

    def _load(self, spec: ModelSpec) -> LoadedModel:
        if spec not in self.loaded:
            self.loaded[spec] = load_model(spec)
        return self.loaded[spec]


def _existing(eval_set: EvalSet, entry: Entry) -> dict[str, Sequence[Pair]]:
    assert entry.folder is not None
    if eval_set.name == "TGVE":
        return dict(sets.from_tgve(eval_set.files[0], {entry.name: entry.folder}).first(len(eval_set.pairs)).methods)
    return dict(sets.in_folders(eval_set.pairs, {entry.name: entry.folder}))


def _end(source: Path, frames: int | None) -> float | None:
    """The time in seconds that cuts a clip after `frames` frames; None for the whole clip."""
    if frames is None:
        return None
    with VideoReader(source) as reader:
        return float((frames - 0.5) / reader.info.fps)


def safe_name(name: str) -> str:
    """A file name that is safe and unique to `name`."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".")[:80]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
