"""An alignment from its settings to a model on disk: check, prepare the points, train, save."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor

from eve_cli import registry
from eve_cli.alignment import prepared
from eve_cli.alignment.prepared import Plan
from eve_cli.alignment.recipe import AlignRecipe
from eve_cli.alignment.student import PictureStudent, Student
from eve_cli.alignment.teachers import TEACHERS
from eve_cli.alignment.teachers.base import Teacher
from eve_cli.alignment.teachers.edit import EditTeacher
from eve_cli.alignment.teachers.lora import LoraTeacher
from eve_cli.data import inputs as data
from eve_cli.data import photos
from eve_cli.data.inputs import Inputs, PersonalInputs
from eve_cli.errors import InputError, ModelError, UsageError
from eve_cli.models import bundle, bundle_manifest, lora, low_rank
from eve_cli.models.editor import Editor
from eve_cli.models.lora import Lora
from eve_cli.settings import to_mapping
from eve_cli.training import estimate, loop, session
from eve_cli.training.estimate import Estimate
from eve_cli.training.loop import Event, Outcome
from eve_cli.training.session import Trained
from eve_cli.training.settings import AlignSettings

POINTS = Path("runs/points")


@dataclass(frozen=True)
class Prospect:
    """What an alignment would do, found without loading weights into memory for long."""

    model: Path
    samples: Mapping[str, int]
    """How many points, and samples of each teacher, are yet to be made."""
    step: Estimate
    """What one step of the optimizer takes."""


class Alignment:
    """A run of `eve align`: who takes part, and the data points; `settings` are checked before anything is loaded.

    With `meta_copy` no weights are read: all is there in its true size, on the meta device, to see what a run
    takes. Then the model may be a preset that is not on this machine.
    """

    def __init__(self, settings: AlignSettings, meta_copy: bool = False) -> None:
        self.settings = settings
        self.origin = None if meta_copy and bundle_manifest.here(settings.model) is None else check(settings)
        self.parts = bundle.meta_copy(settings.model) if meta_copy else bundle.load(_known(self.origin))
        self.parts.channels_last()
        self.lora = _lora(settings, self.origin)
        if settings.random_init or settings.anew or self.lora:
            self.parts.align = None
        device = "cpu" if settings.device == "cpu" or not torch.cuda.is_available() else "cuda"
        device = "meta" if meta_copy else device
        self.editor = Editor(self.parts, device, weights=self.lora.weights if self.lora else None)
        torch.manual_seed(settings.seed)
        make = PictureStudent if self.lora else Student.fresh if settings.random_init else Student
        self.student = make(self.editor, settings.rank, settings.layers)
        self.first = EditTeacher(self.editor, settings.scales.get("edit"))
        self.teachers: dict[Teacher, float] = {}
        for name, weight in settings.weights.items():
            kind, _, told = name.partition(":")
            teacher = registry.pick(TEACHERS, kind, "teacher")
            self.teachers[teacher(self.editor, settings.scales.get(kind), *([told] if told else []))] = weight
        self.painter = next((t for t in self.teachers if isinstance(t, LoraTeacher)), None)
        pictures = photos.load(settings.photos, self.parts.settings.pixels) if settings.photos else None
        self.inputs: Inputs = data.open_inputs(settings.data, settings.seed, pictures, settings.photo_share)
        if self.lora:
            self.inputs = PersonalInputs(
                self.inputs, self.lora.token, "subject" if self.lora.kind == "subject" else "style"
            )
        frames = 1 if self.lora else settings.frames or self.parts.settings.frames
        self.plan = Plan(
            count=settings.points,
            frames=frames,
            side=self.parts.settings.pixels,
            steps=settings.teacher_steps,
            looked=min(settings.looked, frames),
            seed=settings.seed,
            model=(identity(self.origin) if self.origin else "") + (self.lora.sha256 if self.lora else ""),
            inputs=_inputs_identity(settings),
        )
        self.cache = settings.cache or POINTS

    def prospect(self) -> Prospect:
        """What is yet to be made, and what a step takes; of a meta_copy."""
        s, plan = self.settings, self.plan
        teachers = tuple(self.teachers) if s.samples else ()
        samples = dict(prepared.missing(plan, teachers, self.first, self.cache))
        recipe = AlignRecipe(self.student, self.teachers, self._blank(teachers), s)
        recipe.progress = 1.0  # when all losses are there
        return Prospect(self.origin or Path(s.model), samples, estimate.of_step(recipe, self.parts, s))

    def _blank(self, teachers: Sequence[Teacher]) -> dict[str, Tensor]:
        """One data point without content."""
        plan, tokens = self.plan, self.parts.tokens([""])
        latents = torch.zeros(1, plan.frames, self.parts.backbone.config["in_channels"], *_side(self.editor, plan.side))
        rows = {"source": latents, "first": latents[:, 0], "instruction": tokens, "caption": tokens}
        rows |= {"task": torch.zeros(1, dtype=torch.long), "looked": torch.arange(plan.looked)[None]}
        shown = {"edit": plan.looked}
        return rows | {f"real_{t.name}": latents[:, : shown.get(t.name, plan.frames)] for t in teachers}

    def prepare(self, progress: Callable[[int, int], None]) -> dict[str, Tensor]:
        """The data points; in a run of several processes the first makes them and the others read them."""
        state = PartialState(cpu=self.settings.device == "cpu" or not torch.cuda.is_available())
        with state.main_process_first():
            return prepared.prepare(
                self.editor,
                self.inputs,
                tuple(self.teachers),
                self.first,
                self.plan,
                self.cache,
                samples=self.settings.samples,
                painter=self.painter,
                progress=progress,
            )

    def save(self, outcome: Outcome, out: Path) -> Path:
        """The model with its alignment; or, of a LoRA, one LoRA that is it and its alignment together."""
        record = session.record("align", self.settings, outcome, self.origin)
        parts = self.student.editor.parts
        for _, module in parts.modules():
            module.to("cpu")
        if self.lora:
            joined = low_rank.joined(self.lora.weights, {k: v.cpu() for k, v in self.student.weights().items()})
            told = {**self.lora.training, "align": record["align"]}
            return lora.save(replace(self.lora, weights=joined, training=told), out / "lora")
        parts.align = self.student.weights()
        dtype, trained = session.stored_dtype(self.origin), [self.student.module]
        return bundle.save(parts, out / "model", record, dtype=dtype, origin=self.origin, trained=trained)


def _lora(settings: AlignSettings, origin: Path | None) -> Lora | None:
    """The LoRA among the teachers; ModelError if it was made for another backbone."""
    for name in settings.weights:
        kind, _, place = name.partition(":")
        if kind == "lora":
            found = lora.load(place)
            found.check_fits(Path(place), settings.model, bundle_manifest.read(_known(origin)))
            return found
    return None


def check(settings: AlignSettings) -> Path:
    """The model's folder; UsageError, ModelError or InputError for what can be known to be wrong before loading."""
    origin = bundle.resolve(settings.model)
    have = bundle_manifest.read(origin).parts
    kinds = [name.partition(":")[0] for name in settings.weights]
    for part, what in (("edit", "edit adapter"), ("video", "video adapter")):
        if part not in have and not (part == "video" and "lora" in kinds):
            raise ModelError(f"The model {settings.model} has no {what}: train one first (eve train {part}).")
    if not settings.weights:
        raise UsageError("--teachers is empty: name one or more, such as edit,video.")
    for kind in kinds:
        registry.pick(TEACHERS, kind, "teacher")
    if "lora" in kinds and ("video" in kinds or kinds.count("lora") > 1 or "lora" in settings.weights):
        raise UsageError("A LoRA is aligned with the edit adapter alone: --teachers edit,lora:FOLDER.")
    _fit(origin, have)
    if settings.data == "world" and not settings.photos:
        return origin
    if settings.data != "world" and settings.photos:
        raise UsageError("--photos are mixed into `--data world` only.")
    if settings.data != "world" and not Path(settings.data).expanduser().exists():
        raise InputError(f"--data {settings.data} does not exist.")
    return origin


def _fit(origin: Path, have: Sequence[str]) -> None:
    """ModelError if the adapters were made for another backbone, by their configs alone."""
    read = {
        p: json.loads((origin / bundle_manifest.FOLDERS[p] / "config.json").read_text())
        for p in ("backbone", "edit", "video")
    }
    widths = {part: list(config.get("block_out_channels") or []) for part, config in read.items()}
    for part, what in (("edit", "edit adapter"), ("video", "video adapter")):
        if part in widths and widths[part] != widths["backbone"]:
            raise ModelError(
                f"The {what} of {origin} has channels {widths[part]} and the backbone {widths['backbone']}: "
                "they were not made for each other; train the adapter on this backbone."
            )


def run(
    settings: AlignSettings,
    on_event: Callable[[Event], None] | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Trained:
    """Aligns, and saves the model with its alignment as `model` in the run's folder (with a LoRA, that as `lora`).

    Interrupted runs go on with `resume`: prepared points, low-rank layers, discriminators and optimizers are kept.
    """
    out = home(settings)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    alignment = Alignment(settings)
    rows = alignment.prepare(progress)
    recipe = AlignRecipe(alignment.student, alignment.teachers, rows, settings)
    session.write_settings("align", settings, out)
    outcome = loop.run(recipe, settings.loop(), out, on_event, resume=settings.resume, config=to_mapping(settings))
    if outcome.interrupted:
        return Trained(out, None, outcome)
    return Trained(out, alignment.save(outcome, out) if outcome.main else out, outcome)


def home(settings: AlignSettings) -> Path:
    """The run's folder."""
    return settings.out or Path("runs") / "align"


def identity(origin: Path) -> str:
    """A name for a model's weights, the alignment left out."""
    manifest = bundle_manifest.read(origin)
    files = {n: dict(v) for n, v in manifest.files.items() if not n.startswith(bundle_manifest.FOLDERS["align"] + "/")}
    told = json.dumps([files, dict(manifest.settings)], sort_keys=True, default=str)
    return hashlib.blake2b(told.encode(), digest_size=12).hexdigest()


def _inputs_identity(settings: AlignSettings) -> str:
    if settings.data == "world":
        return f"world {settings.photos and settings.photos.name} {settings.photo_share if settings.photos else 0}"
    path = Path(settings.data).expanduser()
    file = path / "inputs.jsonl" if path.is_dir() else path
    return hashlib.blake2b(file.read_bytes(), digest_size=12).hexdigest()


def _side(editor: Editor, side: int) -> tuple[int, int]:
    return editor.latent_size(side, side)


def _known(origin: Path | None) -> Path:
    assert origin is not None
    return origin
