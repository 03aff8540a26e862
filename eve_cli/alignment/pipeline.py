"""An alignment from settings to a model on disk: check, load, train, save."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from eve_cli import registry
from eve_cli.alignment.points import PointSettings, PreparedPoints
from eve_cli.alignment.recipe import AlignRecipe
from eve_cli.alignment.settings import AlignSettings
from eve_cli.alignment.student import ImageStudent, Student
from eve_cli.alignment.teachers import TEACHERS
from eve_cli.alignment.teachers.base import Teacher
from eve_cli.alignment.teachers.edit import EditTeacher
from eve_cli.alignment.teachers.lora import LoraTeacher
from eve_cli.data import inputs as data
from eve_cli.data import photos
from eve_cli.data.inputs import FileInputs, Inputs, PersonalInputs
from eve_cli.errors import InputError, ModelError, UsageError
from eve_cli.models import bundle, bundle_manifest, lora, low_rank
from eve_cli.models.config import BundleSettings
from eve_cli.models.editor import Editor
from eve_cli.models.lora import Lora
from eve_cli.runtime import distributed
from eve_cli.settings import to_mapping
from eve_cli.storage import hashing
from eve_cli.storage.paths import expanded
from eve_cli.training import estimate, session
from eve_cli.training.estimate import Estimate
from eve_cli.training.loop import Event, Outcome
from eve_cli.training.session import Trained

POINTS = Path("runs/points")


@dataclass(frozen=True)
class AlignmentEstimate:
    """What an alignment would compute, found without weights."""

    model: Path
    missing: Mapping[str, int]
    """How many of the points that the run uses, and of each teacher's samples, are not prepared yet."""
    step: Estimate
    """Memory and work of one step of the optimizer."""


class Alignment:
    """Student, teachers and data points of a run of `eve align`; `settings` are checked before anything is loaded.

    A `meta_copy` has no weights: everything is on the meta device in its true size, to estimate a step. Then the model
    may be a preset that is not on this machine.
    """

    def __init__(self, settings: AlignSettings, meta_copy: bool = False) -> None:
        self.settings = settings = settings.for_processes(distributed.world_size())
        self.origin = None if meta_copy and bundle_manifest.here(settings.model) is None else check(settings)
        self.parts = bundle.meta_copy(settings.model) if meta_copy else bundle.load(_origin(self.origin))
        if settings.pixels:
            self.parts.settings = replace(self.parts.settings, pixels=settings.pixels)
        self.parts.channels_last()
        self.lora = _lora(settings, self.origin)
        if settings.random_init or settings.from_scratch or self.lora:
            self.parts.align = None
        device = torch.device("meta") if meta_copy else distributed.process_device(settings.device)
        self.editor = Editor(self.parts, device, weights=self.lora.weights if self.lora else None)
        torch.manual_seed(settings.seed)
        student = ImageStudent if self.lora else Student.untrained if settings.random_init else Student
        self.student = student(self.editor, settings.rank, settings.layers)
        self.teachers = tuple(self._teacher(name) for name in settings.teachers)
        pictures = photos.load(settings.photos, self.parts.settings.pixels) if settings.photos else None
        frames = 1 if self.lora else settings.frames or self.parts.settings.frames
        inputs: Inputs = data.open_inputs(settings.data, settings.seed, pictures, settings.photo_share, frames)
        if self.lora:
            inputs = PersonalInputs(inputs, self.lora.token, "subject" if self.lora.kind == "subject" else "style")
        self.points = PreparedPoints(
            self.editor,
            inputs,
            self.teachers,
            EditTeacher(self.editor, settings.resolved_teacher("edit").guidance),
            PointSettings(
                count=settings.points,
                frames=frames,
                side=self.parts.settings.pixels,
                steps=settings.teacher_steps,
                discriminator_frames=min(settings.discriminator_frames, frames),
                seed=settings.seed,
                model=(identity(self.origin) if self.origin else "") + (self.lora.sha256 if self.lora else ""),
                inputs=_inputs_identity(settings),
            ),
            settings.cache or POINTS,
            samples=settings.needs_samples,
            lora_teacher=next((t for t in self.teachers if isinstance(t, LoraTeacher)), None),
        )

    def _teacher(self, name: str) -> Teacher:
        kind = name.partition(":")[0]
        return registry.pick(TEACHERS, kind, "teacher")(self.editor, self.settings.resolved_teacher(kind).guidance)

    def recipe(self) -> AlignRecipe:
        """The recipe for the training loop; points are prepared in the order of its batches."""
        s = self.settings
        recipe = AlignRecipe(self.student, self.teachers, self.points, s)
        batches = s.points if s.steps is None else s.steps * s.accumulate
        self.points.order = recipe.numbers(batches)
        return recipe

    def estimate(self) -> AlignmentEstimate:
        """Points that are not prepared yet, and the cost of a step; of a `meta_copy`."""
        s, recipe = self.settings, self.recipe()
        recipe.points, recipe.progress = [self._blank_point()], 1.0  # when all losses are active
        step = estimate.of_step(recipe, self.parts, s)
        return AlignmentEstimate(self.origin or Path(s.model), dict(self.points.missing(self.points.order)), step)

    def _blank_point(self) -> dict[str, Tensor]:
        """One data point of zeros."""
        points, tokens = self.points.settings, self.parts.tokens([""])[0]
        channels = self.parts.backbone.config["in_channels"]
        latents = torch.zeros(points.frames, channels, *self.editor.latent_size(points.side, points.side))
        point = {"source": latents, "first": latents[0], "instruction": tokens, "caption": tokens}
        point |= {"task": torch.tensor(0), "discriminator_frames": torch.arange(points.discriminator_frames)}
        frames = {"edit": points.discriminator_frames}
        return point | {f"real_{t.name}": latents[: frames.get(t.name, points.frames)] for t in self.points.teachers}

    def save(self, outcome: Outcome, out: Path) -> Path:
        """The model with its alignment; with a LoRA, one LoRA that joins it and its alignment."""
        s = self.settings
        settings = to_mapping(s) | {"teacher": {kind: asdict(s.resolved_teacher(kind)) for kind in s.teacher_kinds}}
        training = session.training_record("align", settings, outcome, self.origin)
        parts = self.student.editor.parts
        for _, module in parts.modules():
            module.to("cpu")
        if self.lora:
            joined = low_rank.joined(self.lora.weights, {k: v.cpu() for k, v in self.student.weights().items()})
            history = {**self.lora.training, "align": training["align"]}
            return lora.save(replace(self.lora, weights=joined, training=history), out / "lora")
        parts.align = self.student.weights()
        parts.settings = _as_learned(parts.settings, s.student_steps)
        dtype, trained = session.stored_dtype(self.origin), [self.student.module]
        return bundle.save(parts, out / "model", training, dtype=dtype, origin=self.origin, trained=trained)


def _as_learned(settings: BundleSettings, student_steps: int) -> BundleSettings:
    """The settings of an aligned model: clips as its student learned them, unguided; single frames as before."""
    return replace(
        settings,
        steps=student_steps,
        guidance_scale=1.0,
        image_guidance_scale=1.0,
        image_steps=settings.image_steps or settings.steps,
        picture_guidance_scale=settings.picture_guidance_scale or settings.guidance_scale,
    )


def _lora(settings: AlignSettings, origin: Path | None) -> Lora | None:
    """The LoRA among the teachers; ModelError if it was trained on another backbone."""
    for name in settings.teachers:
        kind, _, folder = name.partition(":")
        if kind == "lora":
            loaded = lora.load(folder)
            loaded.check_fits(Path(folder), settings.model, bundle_manifest.read(_origin(origin)))
            return loaded
    return None


def check(settings: AlignSettings) -> Path:
    """The model's folder; UsageError, ModelError or InputError for mistakes that are found without loading weights."""
    origin = bundle.resolve(settings.model)
    have = bundle_manifest.read(origin).parts
    kinds = settings.teacher_kinds
    for part, what in (("edit", "edit adapter"), ("video", "video adapter")):
        if part not in have and not (part == "video" and "lora" in kinds):
            raise ModelError(f"The model {settings.model} has no {what}: train one first (eve train {part}).")
    for kind in kinds:
        registry.pick(TEACHERS, kind, "teacher")
    if "lora" in kinds and ("video" in kinds or kinds.count("lora") > 1 or "lora" in settings.teachers):
        raise UsageError("A LoRA can only be aligned together with the edit adapter: --teachers edit,lora:FOLDER.")
    _fit(origin, have)
    if settings.data == "world" and not settings.photos:
        return origin
    if settings.data != "world" and settings.photos:
        raise UsageError("--photos can only be mixed into `--data world`.")
    if settings.data != "world" and not expanded(settings.data).exists():
        raise InputError(f"--data {settings.data} does not exist.")
    return origin


def _fit(origin: Path, have: Sequence[str]) -> None:
    """ModelError if the adapters belong to another backbone, by their configs alone."""
    configs = {
        p: json.loads((origin / bundle_manifest.FOLDERS[p] / "config.json").read_text())
        for p in ("backbone", "edit", "video")
        if p in have
    }
    widths = {part: list(config.get("block_out_channels") or []) for part, config in configs.items()}
    for part, what in (("edit", "edit adapter"), ("video", "video adapter")):
        if part in widths and widths[part] != widths["backbone"]:
            raise ModelError(
                f"The {what} of {origin} has channels {widths[part]} and the backbone {widths['backbone']}: "
                "they do not fit each other; train the adapter on this backbone."
            )


def run(settings: AlignSettings, on_event: Callable[[Event], None] | None = None) -> Trained:
    """Aligns, and saves the model with its alignment as `model` in the run's folder (with a LoRA, that as `lora`).

    Points are prepared while training runs. An interrupted run continues with `resume`.
    """
    out = session.run_folder("align", settings)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    alignment = Alignment(settings)
    recipe = alignment.recipe()
    if distributed.several():
        alignment.points.prepare_with_others()
    outcome = session.run_loop("align", recipe, alignment.settings, out, on_event)
    if outcome.interrupted:
        return Trained(out, None, outcome)
    return Trained(out, alignment.save(outcome, out) if outcome.main else out, outcome)


def identity(origin: Path) -> str:
    """A hash of a model's files and settings without its alignment."""
    manifest = bundle_manifest.read(origin)
    files = {n: dict(v) for n, v in manifest.files.items() if not n.startswith(bundle_manifest.FOLDERS["align"] + "/")}
    content = json.dumps([files, dict(manifest.settings)], sort_keys=True, default=str)
    return hashlib.blake2b(content.encode(), digest_size=12).hexdigest()


def _inputs_identity(settings: AlignSettings) -> str:
    """A hash of the contents of the data: of the photographs, or of the rows and the videos that they name."""
    if settings.data == "world":
        if not settings.photos:
            return "world None 0"
        pictures = [file for file in sorted(expanded(settings.photos).rglob("*")) if file.is_file()]
        return f"world {hashing.sampled_sha256(pictures)} {settings.photo_share}"
    inputs = data.open_inputs(settings.data)
    assert isinstance(inputs, FileInputs)
    path = expanded(settings.data)
    file = path / data.INPUTS if path.is_dir() else path
    return hashing.sampled_sha256([file, *dict.fromkeys(row.video for row in inputs.rows)])


def _origin(origin: Path | None) -> Path:
    assert origin is not None
    return origin
