"""A training run from settings to a model on disk: load, train one part, save."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open

from eve_cli import registry
from eve_cli.data import batches, photos
from eve_cli.data.world.vocabulary import vocabulary
from eve_cli.errors import OutputError, UsageError
from eve_cli.models import bundle, bundle_manifest
from eve_cli.models.adapters import fresh_edit, fresh_video
from eve_cli.models.editor import Editor
from eve_cli.models.families import mini
from eve_cli.models.parts import Parts
from eve_cli.runtime import distributed
from eve_cli.runtime.meter import META
from eve_cli.settings import from_mapping, to_mapping
from eve_cli.storage import lock
from eve_cli.training import estimate, loop
from eve_cli.training.activations import checkpoint_activations
from eve_cli.training.estimate import Estimate
from eve_cli.training.loop import Event, Outcome
from eve_cli.training.recipe import Concluding, Recipe, Saving
from eve_cli.training.recipes import RECIPES
from eve_cli.training.settings import AdapterSettings, JointSettings, TrainSettings

Settings = TypeVar("Settings", bound=TrainSettings)
SETTINGS_FILE = "settings.json"
NOT_RECORDED = ("out", "resume", "quiet", "threads", "photos", "images")  # paths and options of this machine


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, the model or LoRA in it (None if interrupted), and how it ended."""

    folder: Path
    model: Path | None
    outcome: Outcome


def train(part: str, settings: TrainSettings, on_event: Callable[[Event], None] | None = None) -> Trained:
    """Trains one part of a model and saves the whole model as `model` in the run's folder; other parts do not change.

    `part` is a row of `RECIPES`; a LoRA is saved alone, as `lora`. Of several processes the main one saves.
    """
    out = run_folder(part, settings)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    settings = settings.for_processes(distributed.world_size())
    distributed.process_device(settings.device)
    parts, origin = load_parts(part, settings)
    recipe = make_recipe(part, parts, settings)
    outcome = run_loop(part, recipe, settings, out, on_event)
    if outcome.interrupted:
        return Trained(out, None, outcome)
    if isinstance(recipe, Concluding):
        recipe.conclude()
    model = out / "model"
    if outcome.main:
        for _, module in parts.modules():
            module.to("cpu")
        training = training_record(part, to_mapping(settings), outcome, origin)
        if isinstance(recipe, Saving):
            model = recipe.save(out, training[part])
        else:
            trained = recipe.modules.values()
            bundle.save(parts, model, training, dtype=stored_dtype(origin), origin=origin, trained=trained)
    return Trained(out, model, outcome)


def estimate_step(part: str, settings: TrainSettings) -> Estimate:
    """Memory and work of a step; reads no weights, and the model may be a preset that is not on this machine."""
    with torch.device(META):
        parts, _ = load_parts(part, settings, meta_copy=True)
    for _, module in parts.modules():
        module.to(META)
    return estimate.of_step(make_recipe(part, parts, settings), parts, settings.for_processes(1))


def load_parts(part: str, settings: TrainSettings, meta_copy: bool = False) -> tuple[Parts, Path | None]:
    """The parts that a run starts from, with a new adapter if the one to train is missing, and their folder.

    A `meta_copy` has no weights.
    """
    if settings.model == "new":
        edit, video = part in ("edit", "joint"), part == "video"
        parts = mini.build(vocabulary(), settings=mini.SETTINGS, edit=edit, video=video, seed=settings.seed)
        return parts, None
    origin = None if meta_copy else bundle.resolve(settings.model)
    parts = bundle.load(origin) if origin is not None else bundle.meta_copy(settings.model)
    torch.manual_seed(settings.seed)
    if isinstance(settings, JointSettings) and settings.wide:
        parts.settings = dataclasses.replace(parts.settings, canvas="aspect")
    if settings.pixels:
        parts.settings = dataclasses.replace(parts.settings, pixels=settings.pixels)
    if part == "joint" and settings.data == "world" and not meta_copy:
        mini.add_words(parts, vocabulary(), settings.seed)
    if part in ("edit", "joint") and parts.edit is None:
        parts.edit = fresh_edit(parts.backbone, parts.settings.control_image)
        parts.instruction_encoder = copy.deepcopy(parts.text_encoder)
    if part == "video" and parts.video is None:
        parts.video = fresh_video(parts.backbone, parts.settings.first_frame)
    return parts.freeze(), origin


def make_recipe(part: str, parts: Parts, settings: TrainSettings) -> Recipe:
    """The recipe of a part, with its data."""
    recipe = registry.pick(RECIPES, part, "part")
    if settings.photos and settings.data != "world":
        raise UsageError("--photos can only be mixed into `--data world`; put them into the folder instead.")
    pictures = photos.load(settings.photos, parts.settings.pixels) if settings.photos else None
    wide = None
    if isinstance(settings, JointSettings) and settings.wide and settings.photos:
        width, height = parts.settings.frame_size(16, 9, Editor(parts, parts.device).unit)
        wide = photos.load(settings.photos, (height, width), cuts=2)
    source = batches.open_source(settings.data, pictures, settings.photo_share, wide)
    made = recipe(parts, settings.batch, settings.seed, source=source, **settings.options())
    if isinstance(settings, AdapterSettings) and settings.gradient_checkpointing:
        checkpoint_activations(*made.networks)
    return made


def run_folder(part: str, settings: TrainSettings) -> Path:
    """The run's folder."""
    return settings.out or Path("runs") / part


def resumed(part: str, settings: Settings) -> Settings:
    """The settings of the run in `--out`, updated with those of `settings` that differ from the defaults.

    UsageError if there is no such run, if it trains another part, or if it was made with settings of another version.
    """
    out = run_folder(part, settings)
    file = out / SETTINGS_FILE
    if not file.is_file():
        raise UsageError(
            f"There is no run to resume in {out} (no {SETTINGS_FILE}): leave --resume out, or check --out."
        )
    before = json.loads(file.read_text(encoding="utf-8"))
    if before.pop("part", part) != part:
        raise UsageError(f"The run in {out} trains another part: see {SETTINGS_FILE} there.")
    defaults = to_mapping(type(settings)(resume=True))
    now = {key: value for key, value in to_mapping(settings).items() if value != defaults[key]}
    if now.keys() & {"steps", "minutes"}:
        before.update(steps=None, minutes=None)
    return from_mapping(type(settings), {**before, **now, "resume": True}, str(file))


def run_loop(
    part: str, recipe: Recipe, settings: TrainSettings, out: Path, on_event: Callable[[Event], None] | None
) -> Outcome:
    """Trains; as soon as the loop has accepted the settings, they are written into the run's folder for `resumed`."""

    def handle(event: Event) -> None:
        if event.kind in ("started", "resumed"):
            _write_settings(part, settings, out / SETTINGS_FILE)
        if on_event is not None:
            on_event(event)

    with lock.Lock(out / lock.NAME, str(out)) if distributed.is_main() else nullcontext():
        return loop.run(recipe, settings.loop(), out, handle, resume=settings.resume, config=to_mapping(settings))


def _write_settings(part: str, settings: TrainSettings, file: Path) -> None:
    try:
        file.write_text(json.dumps({"part": part} | to_mapping(settings), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"Cannot write to {file.parent}: {error}.") from error


def training_record(part: str, settings: Mapping[str, Any], outcome: Outcome, origin: Path | None) -> dict[str, Any]:
    """The model's training record with this run's row; rows of other parts do not change."""
    before = dict(bundle_manifest.read(origin).training) if origin is not None else {}
    recorded = {k: v for k, v in settings.items() if k not in NOT_RECORDED}
    losses = {name: round(value, 6) for name, value in outcome.losses.items()}
    row = {"steps": outcome.step, "seconds": round(outcome.seconds), "losses": losses, "settings": recorded}
    return before | {part: row}


def stored_dtype(origin: Path | None) -> torch.dtype:
    """The type of a model's stored weights, so that saving it again changes no bit of its other parts."""
    if origin is None:
        return torch.float16
    weights = next((origin / bundle_manifest.FOLDERS["backbone"]).glob("*.safetensors"))
    with safe_open(weights, framework="pt") as file:
        name = next(iter(file.keys()))
        return file.get_tensor(name).dtype
