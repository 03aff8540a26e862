"""The model of an edit, and what a run.json must know of it."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from eve_cli import __version__
from eve_cli.editing.methods import METHODS, NEEDS
from eve_cli.editing.request import EditRequest
from eve_cli.errors import ModelError, UsageError
from eve_cli.models import folder

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor
    from eve_cli.models.lora import Lora

LIBRARIES = ("torch", "diffusers", "transformers", "peft", "av", "numpy")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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

    def reworded(self, text: str) -> dict[str, str]:
        """Words that the model was never taught, and those that it reads in their place."""
        for style in self.loras:
            text = style.words(text)
        return self.editor.reworded(text)


def load_model(request: EditRequest) -> LoadedModel:
    """Loads the model and the LoRAs that a request names, on its device; ModelError if one is missing or damaged."""
    from eve_cli.models import bundle, lora
    from eve_cli.models.editor import Editor

    path = model_folder(request)
    manifest = folder.read(path)
    check_parts(request.method, request.model, manifest.parts, picture=request.picture)
    hashes = {name: str(entry["sha256"]) for name, entry in manifest.files.items()}
    device = pick_device(request.device)
    dtype = pick_dtype(request.dtype, device)
    asked = lora.parse(request.lora)
    found = [lora.find(place, request.model, manifest) for place, _ in asked]
    parts = bundle.load(path, dtype=dtype)
    if request.edit_text != "auto":
        parts.settings = replace(parts.settings, edit_text=request.edit_text)
    for number, style in enumerate(found):
        hashes[f"{lora.ADAPTER}{number or ''}/{lora.WEIGHTS}"] = style.sha256
    weights = lora.joined(found, [scale for _, scale in asked], parts)
    torch.set_flush_denormal(True)
    return LoadedModel(Editor(parts, device, dtype, weights).quicken(), request.model, hashes, tuple(found))


def check_parts(method: str, model: str, parts: Collection[str], *, picture: bool = False) -> None:
    """ModelError if a model lacks an adapter that a method needs."""
    for part in NEEDS.get(method, ()):
        if part not in parts and not (picture and part == "video"):
            raise ModelError(
                f"The model {model} has no {part} adapter, which --method {method} needs: choose another model, or one "
                f"of the methods {', '.join(name for name in METHODS if set(NEEDS.get(name, ())) <= set(parts))}."
            )


def model_folder(request: EditRequest) -> Path:
    """Where the model lies that a request names, with another backbone if it names one."""
    if request.backbone is None:
        return folder.resolve(request.model)
    from eve_cli.models import importing, pulling

    place = Path(request.backbone).expanduser()
    if place.exists():
        return importing.with_backbone(request.model, place)
    return pulling.derived_folder(request.model, request.backbone)


def absolute_backbone(backbone: str | None) -> str | None:
    """The same backbone named so that it is found from any folder."""
    place = Path(backbone).expanduser() if backbone else None
    return str(place.absolute()) if place and place.exists() else backbone


def absolute_loras(text: str | None) -> str | None:
    """The same LoRAs named so that they are found from any folder."""
    from eve_cli.models import lora

    return ",".join(f"{place.absolute()}:{scale:g}" for place, scale in lora.parse(text)) or None


def pick_device(name: str) -> torch.device:
    """The device that a name stands for; UsageError if this machine has none such."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: this machine has no such device; use auto or cpu.") from error
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format; `auto` is bf16 on a GPU that has it and fp32 elsewhere."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    return DTYPES[name]


def versions() -> dict[str, str]:
    """The versions that a result can depend on."""
    found = {"eve": __version__, "python": platform.python_version()}
    return found | {name: importlib.metadata.version(name) for name in LIBRARIES}


def plan_model(model: LoadedModel) -> dict[str, Any]:
    """What the record of a run keeps of its model, and of its LoRAs if there are some."""
    kept: dict[str, Any] = {"name": model.name, "sha256": model.hashes}
    told = {"token": [style.name for style in model.loras], "kind": [style.kind for style in model.loras]}
    return kept | ({"lora": {key: " and ".join(each) for key, each in told.items()}} if model.loras else {})
