"""Methods over clips: every edit made once, by a model that is loaded once, into a folder that can be gone on with."""

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
from eve_cli.evaluation.alignment import ALIGNED_TASKS, Test
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

ALL, BENCH, EDITS, CLIPS = "all", "bench.json", "edits", "clips"
# Settings by which an edit differs; a folder holds the edits of one choice of them.
EDITING = ("data", "model", "steps", "guidance_scale", "image_guidance_scale", "captions", "max_frames", "edit_seed")
DRAWING = ("tasks", "each", "frames", "side")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Entry:
    """A row of the table: a method with a model, or a folder of edits made elsewhere."""

    name: str
    method: str = ""
    model: str = ""
    folder: Path | None = None


def entries(methods: str, model: str) -> list[Entry]:
    """The rows that `--methods` asks for; UsageError for a method that does not exist, or a name given twice."""
    found: list[Entry] = []
    for item in _spelled_out(methods):
        name, equals, _ = item.partition("=")
        if equals:
            found.append(Entry(name, folder=sets.named_folders(item)[name]))
            continue
        method, _, other = item.partition("@")
        spec(method)
        found.append(Entry(COPIED if method == "copy" else item, method, other or model))
    names = [entry.name for entry in found]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"--methods {methods}: give at least one method, and each once.")
    return found


def _spelled_out(methods: str) -> Iterator[str]:
    """The rows one by one; `all` stands for every method, `all@MODEL` for every method with that model."""
    for item in filter(None, (part.strip() for part in methods.split(","))):
        name, at, model = item.partition("@")
        if name == ALL:
            yield from (f"{method}{at}{model}" for method in METHODS if not at or method != "copy")
        else:
            yield item


def data(settings: BenchSettings) -> EvalSet:
    """The clips to be edited, with what is asked for."""
    if settings.data == "world":
        from eve_cli.evaluation.drawn import draw

        tasks = tuple(filter(None, settings.tasks.split(","))) or ALIGNED_TASKS
        test = Test(tasks, settings.each, settings.frames, settings.side, settings.edit_seed)
        return draw(settings.out / CLIPS, test).first(settings.limit)
    path = Path(settings.data).expanduser()
    if not path.exists():
        raise UsageError(f"--data {settings.data}: is neither `world` nor a folder or file that exists.")
    if path.is_dir() or _is_tgve(path):
        return sets.from_tgve(path, {}, settings.instructions).first(settings.limit)
    return sets.from_manifest(path, given=settings.map).first(settings.limit)


def _is_tgve(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix == ".csv" and tgve.CAPTION.encode() in file.readline()


def claim(settings: BenchSettings) -> None:
    """Notes in the folder of which edits it holds; UsageError if those are others than are asked for now, ModelError
    if a model cannot do what a method needs."""
    names = EDITING + (DRAWING if settings.data == "world" else ())
    kept = {name: value for name, value in to_mapping(settings).items() if name in names}
    asked = [entry for entry in entries(settings.methods, settings.model) if entry.method]
    for entry in asked:
        check_parts(entry.method, entry.model, bundles.read(bundles.resolve(entry.model)).parts)
    models = {entry.model for entry in asked}
    file = settings.out / BENCH
    earlier = read_json(file) if file.is_file() else {"settings": kept, "models": {}}
    if changed := [name for name in names if earlier["settings"].get(name) != kept[name]]:
        raise UsageError(
            f"{settings.out} holds edits made with another --{changed[0].replace('_', '-')}; choose another --out."
        )
    for model in sorted(models):
        held = bundles.read(bundles.resolve(model)).files
        hashes = {name: entry["sha256"] for name, entry in held.items()}
        if earlier["models"].setdefault(model, hashes) != hashes:
            raise UsageError(f"{settings.out} holds edits of another model {model}; choose another --out.")
    settings.out.mkdir(parents=True, exist_ok=True)
    write_json(file, earlier)


@dataclass
class Editing:
    """The making of all edits that a folder lacks."""

    settings: BenchSettings
    progress: Progress = lambda name, done, of: None
    loaded: dict[ModelSpec, LoadedModel] = field(default_factory=dict)

    def all(self, asked: EvalSet) -> EvalSet:
        """The set with the edits of every method; those that fail have the reason in their notes.

        UsageError before anything is loaded if a method cannot edit what it is given.
        """
        methods, lines = {}, entries(self.settings.methods, self.settings.model)
        for entry in lines:
            if entry.folder is None:
                self.check(entry, asked.pairs)
        for entry in lines:
            if entry.folder is not None:
                methods |= _found(asked, entry)
            elif entry.name == COPIED:
                methods[COPIED] = [replace(pair, edited=pair.source) for pair in asked.pairs]
            else:
                methods[entry.name] = self._made(entry, asked.pairs)
        return replace(asked, methods=methods).with_copy()

    def _made(self, entry: Entry, pairs: Sequence[Pair]) -> list[Pair]:
        home = self.settings.out / EDITS / safe_name(entry.name)
        home.mkdir(parents=True, exist_ok=True)
        files = [home / f"{safe_name(pair.id)}.mkv" for pair in pairs]
        missing = [file for file in files if not file.is_file()]
        made = []
        for number, (pair, file) in enumerate(zip(pairs, files, strict=True)):
            try:
                if file in missing:
                    pipeline.edit(self._request(entry, pair, file, number), load=self._load)
                made.append(replace(pair, edited=file))
            except (OutOfMemory, ModelError, UsageError):
                raise
            except EveError as error:
                made.append(replace(pair, edited=None, notes=f"the edit failed: {error}"))
            if file in missing:
                self.progress(entry.name, missing.index(file) + 1, len(missing))
        return made

    def check(self, entry: Entry, pairs: Sequence[Pair]) -> None:
        """UsageError that names the method and the edit which make no sense together."""
        for pair in pairs:
            try:
                self._asked(entry, pair)
            except UsageError as error:
                raise UsageError(f"--methods {entry.name} cannot do the edit {pair.id}: {error}") from error

    def _request(self, entry: Entry, pair: Pair, file: Path, number: int) -> EditRequest:
        return self._asked(entry, pair).changed(
            output=file,
            overwrite=True,
            codec="ffv1",  # without loss: the codec's faults are not the method's
            end=_end(pair.source, self.settings.max_frames),
            seed=self.settings.edit_seed * 1_000_003 + number,
        )

    def _asked(self, entry: Entry, pair: Pair) -> EditRequest:
        settings, kind = self.settings, METHODS[entry.method].options
        told = settings.captions or issubclass(kind, CaptionedOptions)  # some cannot do without
        own: dict[str, Any] = {"source_caption": pair.input_caption} if told and pair.input_caption else {}
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
        own = {name: value for name, value in own.items() if name in kind.__dataclass_fields__}
        return EditRequest.of(values | own, entry.name)

    def _load(self, spec: ModelSpec) -> LoadedModel:
        if spec not in self.loaded:
            self.loaded[spec] = load_model(spec)
        return self.loaded[spec]


def _found(asked: EvalSet, entry: Entry) -> dict[str, Sequence[Pair]]:
    assert entry.folder is not None
    if asked.name == "TGVE":
        return dict(sets.from_tgve(asked.files[0], {entry.name: entry.folder}).first(len(asked.pairs)).methods)
    return dict(sets.in_folders(asked.pairs, {entry.name: entry.folder}))


def _end(source: Path, frames: int | None) -> float | None:
    """The second before which `frames` frames of a clip begin."""
    if frames is None:
        return None
    with VideoReader(source) as reader:
        return float((frames - 0.5) / reader.info.fps)


def safe_name(name: str) -> str:
    """A name that is a file's, and that no other name has."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".")[:80]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
