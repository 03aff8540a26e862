"""Loads the model of an edit, and describes it for run.json."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from eve_cli.models import bundle_manifest
from eve_cli.models.spec import ModelSpec
from eve_cli.runtime.device import pick_device, pick_dtype
from eve_cli.storage.paths import expanded

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor
    from eve_cli.models.lora import Lora


@dataclass(frozen=True)
class LoadedModel:
    """An editor, and the sha256 of each of its files, those of a LoRA included."""

    editor: Editor
    name: str
    hashes: dict[str, str]
    loras: tuple[Lora, ...] = ()

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that neither the model nor a LoRA was taught."""
        for style in self.loras:
            text = style.words(text)
        return self.editor.unknown_words(text)

    def unread(self, text: str) -> str:
        """The end of a text that the model does not read, since it goes beyond its longest text; else empty."""
        return self.editor.unread(text)

    def replaced_words(self, text: str) -> dict[str, str]:
        """The words of a text that are replaced by words of the model's vocabulary, and by which."""
        for style in self.loras:
            text = style.words(text)
        return self.editor.replaced_words(text)


def load_model(spec: ModelSpec) -> LoadedModel:
    """Loads a model and its LoRAs on the device of the spec, ready for inference.

    ModelError if one of them is missing or damaged, UsageError if there is no such device.
    """
    from eve_cli.models import bundle, lora
    from eve_cli.models.editor import Editor

    path = model_folder(spec)
    manifest = bundle_manifest.read(path)
    hashes = {name: str(entry["sha256"]) for name, entry in manifest.files.items()}
    device = pick_device(spec.device)
    dtype = pick_dtype(spec.dtype, device)
    paths_and_scales = lora.parse(spec.lora)
    loras = [lora.find(path, spec.name, manifest) for path, _ in paths_and_scales]
    parts = bundle.load(path, dtype=dtype)
    if spec.edit_text != "auto":
        parts.settings = replace(parts.settings, edit_text=spec.edit_text)
    for number, each in enumerate(loras):
        hashes[f"{lora.ADAPTER}{number or ''}/{lora.WEIGHTS}"] = each.sha256
    weights = lora.joined(loras, [scale for _, scale in paths_and_scales], parts)
    torch.set_flush_denormal(True)
    editor = Editor(parts, device, dtype, weights).optimize_for_inference()
    return LoadedModel(editor, spec.name, hashes, tuple(loras))


def parts_of(spec: ModelSpec) -> Collection[str]:
    """The names of a model's parts, from its manifest alone."""
    return bundle_manifest.read(model_folder(spec)).parts


def model_folder(spec: ModelSpec) -> Path:
    """The bundle of a spec; with another backbone, the folder that combines the two."""
    if spec.backbone is None:
        return bundle_manifest.resolve(spec.name)
    from eve_cli.models import importing, pulling

    path = expanded(spec.backbone)
    if path.exists():
        return importing.with_backbone(spec.name, path)
    return pulling.derived_folder(spec.name, spec.backbone)


def absolute_backbone(backbone: str | None) -> str | None:
    """The same backbone, with an absolute path if it is a path."""
    path = expanded(backbone) if backbone else None
    return str(path.absolute()) if path and path.exists() else backbone


def absolute_loras(text: str | None) -> str | None:
    """The same LoRAs with absolute paths."""
    from eve_cli.models import lora

    return ",".join(f"{path.absolute()}:{scale:g}" for path, scale in lora.parse(text)) or None


def plan_model(model: LoadedModel) -> dict[str, Any]:
    """What run.json keeps of a model, and of its LoRAs if there are some."""
    record: dict[str, Any] = {"name": model.name, "sha256": model.hashes}
    if model.loras:
        names, kinds = ([lora.name for lora in model.loras], [lora.kind for lora in model.loras])
        record["lora"] = {"token": " and ".join(names), "kind": " and ".join(kinds)}
    return record
