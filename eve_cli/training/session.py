"""A training from its settings to a model on disk: load, train one part, save."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open

from eve_cli import registry
from eve_cli.data import batches, photos
from eve_cli.data.world.language import vocabulary
from eve_cli.errors import OutputError, UsageError
from eve_cli.models import bundle, folder
from eve_cli.models.adapters import fresh_edit, fresh_video
from eve_cli.models.editor import Editor
from eve_cli.models.families import mini
from eve_cli.models.meter import META
from eve_cli.models.parts import Parts
from eve_cli.settings import from_mapping, to_mapping
from eve_cli.training import estimate, loop
from eve_cli.training.estimate import Estimate
from eve_cli.training.loop import Event, Outcome
from eve_cli.training.recipe import Concluding, Recipe, Saving
from eve_cli.training.recipes import RECIPES
from eve_cli.training.settings import JointSettings, TrainSettings

Settings = TypeVar("Settings", bound=TrainSettings)
KEPT_SETTINGS = "settings.json"
NOT_RECORDED = ("out", "resume", "quiet", "threads", "photos", "images")  # of this machine, not of the model


@dataclass(frozen=True)
class Trained:
    """What a training gave: the run's folder, the model or LoRA in it (None if interrupted), and how it ended."""

    folder: Path
    model: Path | None
    outcome: Outcome


def train(part: str, settings: TrainSettings, on_event: Callable[[Event], None] | None = None) -> Trained:
    """Trains one part of a model and saves the whole model as `model` in the run's folder; the other parts stay.

    `part` is a row of `RECIPES`; a LoRA is saved alone, as `lora`. In a run of several processes the first one saves.
    """
    out = home(part, settings)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    parts, origin = start(part, settings)
    recipe = make_recipe(part, parts, settings)
    write_settings(part, settings, out)
    outcome = loop.run(recipe, settings.loop(), out, on_event, resume=settings.resume, config=to_mapping(settings))
    if outcome.interrupted:
        return Trained(out, None, outcome)
    if isinstance(recipe, Concluding):
        recipe.conclude()
    model = out / "model"
    if outcome.main:
        for _, module in parts.modules():
            module.to("cpu")
        told = record(part, settings, outcome, origin)
        if isinstance(recipe, Saving):
            model = recipe.save(out, told[part])
        else:
            trained = recipe.modules.values()
            bundle.save(parts, model, told, dtype=stored_dtype(origin), origin=origin, trained=trained)
    return Trained(out, model, outcome)


def prospect(part: str, settings: TrainSettings) -> Estimate:
    """What a step of a training takes; no weights are read, and the model may be a preset not on this machine."""
    with torch.device(META):
        parts, _ = start(part, settings, ghost=True)
    for _, module in parts.modules():
        module.to(META)
    return estimate.of_step(make_recipe(part, parts, settings), parts, settings)


def start(part: str, settings: TrainSettings, ghost: bool = False) -> tuple[Parts, Path | None]:
    """The parts that a run starts from, with a fresh adapter if the one to train is missing, and where they lie.

    As a `ghost` they have no weights.
    """
    if settings.model == "new":
        edit, video = part in ("edit", "joint"), part == "video"
        parts = mini.build(vocabulary(), settings=mini.SETTINGS, edit=edit, video=video, seed=settings.seed)
        return parts, None
    origin = None if ghost else bundle.resolve(settings.model)
    parts = bundle.load(origin) if origin is not None else bundle.ghost(settings.model)
    torch.manual_seed(settings.seed)
    if isinstance(settings, JointSettings) and settings.wide:
        parts.settings = dataclasses.replace(parts.settings, canvas="aspect")
    if settings.pixels:
        parts.settings = dataclasses.replace(parts.settings, pixels=settings.pixels)
    if part == "joint" and settings.data == "world" and not ghost:
        mini.teach(parts, vocabulary(), settings.seed)
    if part in ("edit", "joint") and parts.edit is None:
        parts.edit = fresh_edit(parts.backbone, parts.settings.hint)
        parts.instruction_encoder = copy.deepcopy(parts.text_encoder)  # which has read few instructions, and is frozen
    if part == "video" and parts.video is None:
        parts.video = fresh_video(parts.backbone, parts.settings.first_frame)
    return parts.freeze(), origin


def make_recipe(part: str, parts: Parts, settings: TrainSettings) -> Recipe:
    """The recipe of a part, with its data."""
    recipe = registry.pick(RECIPES, part, "part")
    if settings.photos and settings.data != "world":
        raise UsageError("--photos are mixed into `--data world` only; put them into the folder instead.")
    pictures = photos.load(settings.photos, parts.settings.pixels) if settings.photos else None
    wide = None
    if isinstance(settings, JointSettings) and settings.wide and settings.photos:
        width, height = parts.settings.frame_size(16, 9, Editor(parts, parts.device).unit)
        wide = photos.load(settings.photos, (height, width), cuts=2)
    source = batches.open_source(settings.data, pictures, settings.photo_share, wide)
    return recipe(parts, settings.batch, settings.seed, source=source, **settings.options())


def home(part: str, settings: TrainSettings) -> Path:
    """The run's folder."""
    return settings.out or Path("runs") / part


def resumed(part: str, settings: Settings) -> Settings:
    """The settings of the run to go on with, with those that were given now in their place."""
    out = home(part, settings)
    file = out / KEPT_SETTINGS
    if not file.is_file():
        raise UsageError(
            f"There is no run to resume in {out} (no {KEPT_SETTINGS}): leave --resume out, or check --out."
        )
    kept = json.loads(file.read_text(encoding="utf-8"))
    if kept.pop("part", part) != part:
        raise UsageError(f"The run in {out} trains another part: see {KEPT_SETTINGS} there.")
    plain = {f.name: f.default for f in dataclasses.fields(settings)}
    given = {key: value for key, value in to_mapping(settings).items() if value != plain[key]}
    if given.keys() & {"steps", "minutes"}:
        kept.update(steps=None, minutes=None)
    return from_mapping(type(settings), {**kept, **given}, str(file))


def write_settings(part: str, settings: TrainSettings, out: Path) -> None:
    if os.environ.get("RANK", "0") != "0":
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = out / KEPT_SETTINGS
        if settings.resume or not file.exists():
            file.write_text(json.dumps({"part": part} | to_mapping(settings), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"Cannot write to {out}: {error.strerror or error}.") from error


def record(part: str, settings: TrainSettings, outcome: Outcome, origin: Path | None) -> dict[str, Any]:
    """The model's training record with this run's row; rows of other parts stay."""
    before = dict(folder.read(origin).training) if origin is not None else {}
    told = {k: v for k, v in to_mapping(settings).items() if k not in NOT_RECORDED}
    losses = {name: round(value, 6) for name, value in outcome.losses.items()}
    row = {"steps": outcome.step, "seconds": round(outcome.seconds), "losses": losses, "settings": told}
    return before | {part: row}


def stored_dtype(origin: Path | None) -> torch.dtype:
    """The type that a model's weights are stored in, so that saving it again changes no bit of the parts left alone."""
    if origin is None:
        return torch.float16
    weights = next((origin / folder.FOLDERS["backbone"]).glob("*.safetensors"))
    with safe_open(weights, framework="pt") as file:
        name = next(iter(file.keys()))
        return file.get_tensor(name).dtype
