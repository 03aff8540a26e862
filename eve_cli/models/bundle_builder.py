"""Builds a bundle from existing files: links or converts them, checks their headers and writes the manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel

from eve_cli.errors import ModelError
from eve_cli.models import bundle, bundle_manifest
from eve_cli.models.bundle import CLASSES
from eve_cli.models.bundle_manifest import FOLDERS, PICKLES
from eve_cli.models.lora_files import check_finite
from eve_cli.models.presets import CONFIG, LANGUAGE_MODEL, NETWORK
from eve_cli.storage.atomic import link_or_copy
from eve_cli.storage.headers import Shapes, compare, shapes, utf8_name

OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
"""Names of the vae's attention in files older than diffusers 0.14, which diffusers still reads."""


@dataclass(frozen=True)
class Part:
    """The content of a part of a new bundle: files to link, by their new names, or tensors to store."""

    files: Mapping[str, Path] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] | None = None
    config: Mapping[str, Any] | None = None
    """The content of `config.json`, where `files` has none."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """Origin: repository, commit and licence, or the name of the original file."""


def make(
    name: str,
    parts: Mapping[str, Part],
    settings: Mapping[str, Any],
    schedules: Mapping[str, Mapping[str, Any]],
    training: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a bundle among the models of this machine; it appears whole and checked, or not at all.

    `schedules` are diffusers scheduler configs by field of `Parts`. ModelError, in one sentence, if a part's names or
    shapes are not those of its class.
    """
    target = bundle_manifest.home() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with bundle_manifest.appearing(target, bundle_manifest.MANIFEST, "model") as fresh:
        for part, source in parts.items():
            _write(part, source, fresh / FOLDERS[part])
        for part, config in schedules.items():
            (fresh / FOLDERS[part]).mkdir()
            scheduler = {"_class_name": "DDIMScheduler", **config}
            bundle_manifest.write_json(scheduler, fresh / FOLDERS[part] / "scheduler_config.json")
        vae = json.loads((fresh / FOLDERS["vae"] / CONFIG).read_text(encoding="utf-8"))
        bundle_manifest.write_json(
            bundle_manifest.model_index(parts.keys(), vae.get("_class_name")), fresh / "model_index.json"
        )
        for part in parts:
            check(part, fresh / FOLDERS[part])
            check_values(part, fresh / FOLDERS[part])
        check_joint(fresh, parts)
        sources = {part: dict(source.source) for part, source in parts.items() if source.source}
        bundle_manifest.write(fresh, {"name": name, **settings}, training, sources=sources)
    return target


def of_bundle(manifest: bundle_manifest.Manifest, part: str) -> Part:
    """A part of another bundle."""
    prefix = f"{FOLDERS[part]}/"
    files = {n.removeprefix(prefix): manifest.path / n for n in manifest.files if n.startswith(prefix)}
    return Part(files, source=manifest.sources.get(part, {}))


def _write(part: str, source: Part, target: Path) -> None:
    target.mkdir()
    for name, file in source.files.items():
        if file.suffix in PICKLES:
            raise ModelError(f"{file} is a pickle file, which can run code when it is read: eve takes safetensors.")
        link_or_copy(file, target / name)
    if source.config is not None:
        bundle_manifest.write_json(dict(source.config), target / CONFIG)
    if source.tensors is not None:
        name = LANGUAGE_MODEL if CLASSES.get(part) is CLIPTextModel else NETWORK
        stored = {key: value.contiguous() for key, value in source.tensors.items()}
        save_file(stored, target / name, metadata={"format": "pt"})


def expected(part: str, config: Mapping[str, Any]) -> Shapes:
    """The names and shapes of a part with this config, computed on the meta device."""
    with torch.device("meta"):
        network = bundle.empty(part, config)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def check(part: str, place: Path) -> None:
    """ModelError, in one sentence, unless the weights in a folder are those that its config.json asks for."""
    if part not in CLASSES:
        for file in place.glob("[!.]*.safetensors"):
            shapes(file)
        return
    stored: Shapes = {}
    for file in sorted(place.glob("[!.]*.safetensors")):
        if file.name != bundle.FIRST_FRAME:
            stored |= shapes(file)
    if not stored:
        raise ModelError(f"{place} holds no weights (.safetensors): the {FOLDERS[part]} is missing.")
    try:
        config = json.loads((place / CONFIG).read_text(encoding="utf-8"))
        required = expected(part, config)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{place / CONFIG} is missing or no config of a {FOLDERS[part]} ({error}).") from error
    renamed = {_today(part, name): shape for name, shape in stored.items() if not name.endswith("position_ids")}
    if differences := compare(required, renamed):
        raise ModelError(f"The {FOLDERS[part]} does not fit its config.json: {differences[0]}")


def check_values(part: str, place: Path) -> None:
    """ModelError if a value of the weights in a folder is not finite."""
    for file in place.glob("[!.]*.safetensors"):
        with utf8_name(file) as name, safe_open(name, "pt") as stored:
            check_finite(((key, stored.get_tensor(key)) for key in stored.keys()), f"The {FOLDERS[part]}")  # noqa: SIM118


def _today(part: str, name: str) -> str:
    """The name that a tensor of an older file has now."""
    if CLASSES[part] is CLIPTextModel:
        return name.removeprefix("text_model.")
    if part == "vae" and ".attentions." in name:
        for old, new in OLD_ATTENTION.items():
            name = name.replace(old, new)
    return name


def check_joint(place: Path, parts: Mapping[str, Part]) -> None:
    """ModelError if adapters are for backbones of another width."""
    read = {
        part: json.loads((place / FOLDERS[part] / CONFIG).read_text(encoding="utf-8"))
        for part in ("backbone", "edit", "video", "sparse")
        if part in parts
    }
    wide = list(read["backbone"].get("block_out_channels", ()))
    for part, config in read.items():
        own = list(config.get("block_out_channels", wide))
        if own != wide:
            raise ModelError(
                f"The {FOLDERS[part]} has channels {own} and the unet {wide}: they were not made for each other."
            )
