"""Models that come as files: a bundle from another machine, or parts in diffusers' form or in single files."""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eve_cli.errors import ModelError, OutputError, UsageError
from eve_cli.models import bundle_builder, bundle_manifest, single_file
from eve_cli.models.bundle_builder import Part
from eve_cli.models.bundle_manifest import FOLDERS, PICKLES, SCHEDULES
from eve_cli.models.families import sd15
from eve_cli.models.presets import LORA, PRESETS
from eve_cli.storage.atomic import atomic_file, link_or_copy

BRINGS = ("backbone", "vae", "text_encoder", "tokenizer", "edit", "video", "sparse")
"""What a pipeline's folder may hold, by field of `Parts`."""
NOISE = (
    "num_train_timesteps",
    "beta_schedule",
    "beta_start",
    "beta_end",
    "trained_betas",
    "rescale_betas_zero_snr",
    "prediction_type",
)
"""The fields of a scheduler config that say what the network was trained on; the others say how to sample."""


def bundle_out(model: str | Path, out: Path, overwrite: bool = False) -> Path:
    """Writes a model, checked, as one folder, or as one file if `out` ends in .tar; for machines without a network."""
    place = bundle_manifest.resolve(model)
    manifest = bundle_manifest.verify(place)
    if not out.parent.is_dir():
        raise OutputError(f"The folder {out.parent} does not exist: make it first.")
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists already: choose another name, or give --overwrite.")
    if out.suffix != ".tar":
        with bundle_manifest.appearing(out.absolute(), bundle_manifest.MANIFEST, "model") as fresh:
            shutil.copytree(place, fresh, dirs_exist_ok=True)
        return out
    with atomic_file(out) as part, tarfile.open(part, "w") as tar:
        for name in (bundle_manifest.MANIFEST, *manifest.files):
            tar.add((place / name).resolve(), arcname=f"{place.name}/{name}")
    return out


def bundle_in(origin: Path, name: str | None = None, overwrite: bool = False) -> Path:
    """Takes a bundle, a folder or a .tar of one, among the models of this machine, after every hash is checked."""
    with _unpacked(origin) as place:
        try:
            manifest = bundle_manifest.verify(place)
        except ModelError as error:
            raise ModelError(str(error).replace(str(place), str(origin))) from None
        target = _target(name or place.name, overwrite)
        with bundle_manifest.appearing(target, bundle_manifest.MANIFEST, "model") as fresh:
            for file in (bundle_manifest.MANIFEST, *manifest.files):
                (fresh / file).parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(place / file, fresh / file)
    return target


@contextmanager
def _unpacked(origin: Path) -> Iterator[Path]:
    if origin.is_dir():
        yield origin
        return
    bundle_manifest.home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=bundle_manifest.home(), prefix=".import.") as scratch:
        try:
            with tarfile.open(origin) as tar:
                tar.extractall(scratch, filter="data")
        except (tarfile.TarError, OSError) as error:
            raise ModelError(f"{origin} is damaged or no bundle ({error}): copy it again.") from error
        folders = [file.parent for file in Path(scratch).glob(f"*/{bundle_manifest.MANIFEST}")]
        if len(folders) != 1:
            raise ModelError(f"{origin} holds no bundle: eve models bundle makes one.")
        yield folders[0]


def parts_in(
    name: str,
    paths: Mapping[str, Path],
    base: str = "sd15",
    prediction: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Makes a model of parts that lie in files, and of `base` for the others and for the settings.

    `paths` holds, by field of `Parts`, a folder in diffusers' form or a .safetensors file; that of the backbone may be
    a whole pipeline's folder or a whole checkpoint, which brings what else it holds. ModelError if a part is missing,
    a pickle, damaged, or of another shape than the rest.
    """
    target = _target(name, overwrite)
    settings, schedules, parts, training = _base(base)
    noise: dict[str, Any] = {}
    for part, place in paths.items():
        loaded, scheduler = _read(part, place, parts)
        parts |= loaded
        noise = {key: scheduler[key] for key in NOISE if key in scheduler} or noise
    prediction = prediction or noise.pop("prediction_type", None)
    noise.pop("prediction_type", None)
    if missing := [FOLDERS[p] for p in ("backbone", "vae", "text_encoder", "tokenizer") if p not in parts]:
        raise ModelError(f"No {' and no '.join(missing)} was given, and {base} is not on this machine to take it from.")
    if noise:  # of the backbone; the video adapter keeps the one that it was trained on, if it has its own
        part = "image_schedule" if "image_schedule" in schedules else "schedule"
        schedules[part] = {key: value for key, value in schedules[part].items() if key not in NOISE} | noise
    if prediction:
        schedules = {part: {**config, "prediction_type": prediction} for part, config in schedules.items()}
    _check_schedules(schedules)
    if "sparse" not in parts and settings.get("first_frame") == "sparse":
        parts.pop("video", None)  # which would have no way in for a first frame
    return bundle_builder.make(target.name, parts, settings, schedules, training)


def with_backbone(base: str, backbone: Path) -> Path:
    """The model `base` with the backbone of a file or folder, made once and kept among the models of this machine."""
    from eve_cli.models.pulling import derived

    stamp = bundle_manifest.stamp(bundle_manifest.resolve(base), backbone)
    name = f"{derived(base, backbone.stem)}-{stamp}"
    path = bundle_manifest.home() / name
    return path if (path / bundle_manifest.MANIFEST).is_file() else parts_in(name, {"backbone": backbone}, base)


def _base(base: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]], dict[str, Part], dict[str, Any]]:
    """Settings, schedules, parts and training record of the model that the rest is taken from."""
    try:
        place = bundle_manifest.resolve(base)
    except ModelError:
        if base not in PRESETS or not PRESETS[base].sources:
            raise
        row = PRESETS[base]
        by_part = {"schedule": row.schedule, "image_schedule": row.image_schedule}
        return dict(row.settings), {k: dict(v) for k, v in by_part.items() if v}, {}, {}
    manifest = bundle_manifest.verify(place, again=False)
    schedules = {
        part: json.loads((place / FOLDERS[part] / "scheduler_config.json").read_text(encoding="utf-8"))
        for part in SCHEDULES
        if part in manifest.parts
    }
    parts = {part: bundle_builder.of_bundle(manifest, part) for part in manifest.parts if part not in SCHEDULES}
    settings = {key: value for key, value in manifest.settings.items() if key != "name"}
    return settings, schedules, parts, dict(manifest.training)


def _check_schedules(schedules: Mapping[str, Mapping[str, Any]]) -> None:
    """ModelError for a scheduler config that gives no noise schedule."""
    from eve_cli.diffusion.schedule import Schedule

    for config in schedules.values():
        try:
            Schedule.from_diffusers(config)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"The scheduler_config.json of this model cannot be used: {error}") from error


def _read(part: str, place: Path, parts: Mapping[str, Part]) -> tuple[dict[str, Part], Mapping[str, Any]]:
    """The parts that a path brings, and the scheduler config of the backbone among them where there is one."""
    if not place.exists():
        raise ModelError(f"{place} does not exist: give a folder in diffusers' form, or a .safetensors file.")
    if part == "domain":
        return {"domain": Part({LORA: place if place.is_file() else _only(place)}, source={"file": place.name})}, {}
    if place.is_file():
        contents = single_file.split(place, lambda name: _config(name, parts))
        if part not in contents:
            what = " and ".join(FOLDERS[name] for name in contents)
            raise ModelError(f"{place} holds a {what}, and was given as the {FOLDERS[part]}.")
        return contents, {}
    if part != "backbone" or not (place / FOLDERS["backbone"]).is_dir():
        return {part: single_file.of_folder(part, place)}, {}
    inside = {name: place / FOLDERS[name] for name in BRINGS if (place / FOLDERS[name]).is_dir()}
    scheduler = place / FOLDERS["schedule"] / "scheduler_config.json"
    try:
        config = json.loads(scheduler.read_text(encoding="utf-8")) if scheduler.is_file() else {}
    except ValueError as error:
        raise ModelError(f"{scheduler} is damaged ({error}): copy it again.") from error
    return {name: single_file.of_folder(name, each) for name, each in inside.items()}, config


def _config(part: str, parts: Mapping[str, Part]) -> Mapping[str, Any]:
    """What a part in a single file should be: as that of the base, else as the true Stable Diffusion 1.5."""
    if part in parts:
        known = parts[part]
        return known.config or json.loads(known.files["config.json"].read_text(encoding="utf-8"))
    return sd15.config(part)


def _only(place: Path) -> Path:
    files = sorted(place.glob("[!.]*.safetensors"))
    if len(files) != 1:
        pickled = any(file.suffix in PICKLES for file in place.iterdir())
        raise ModelError(f"{place} has {'pickles and ' if pickled else ''}{len(files)} .safetensors files: name one.")
    return files[0]


def _target(name: str, overwrite: bool) -> Path:
    if not name or Path(name).name != name or name.startswith("."):
        raise UsageError(f"--name {name} is no name: use letters, digits, dashes and dots.")
    if name in PRESETS and not PRESETS[name].sources:
        raise UsageError(f"--name {name} is that of an embedded model: choose another.")
    target = bundle_manifest.home() / name
    if target.exists() and not overwrite:
        raise OutputError(f"There is a model {name} on this machine already: choose another --name, or --overwrite.")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target
