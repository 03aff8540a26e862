"""The model of an edit, and what a run.json must know of it."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from eve_cli import __version__
from eve_cli.editing.request import EditRequest
from eve_cli.errors import UsageError
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
    lora: Lora | None = None

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that neither the model nor the LoRA was taught."""
        return self.editor.unknown_words(text if self.lora is None else self.lora.words(text))


def load_model(request: EditRequest) -> LoadedModel:
    """Loads the model and the LoRA that a request names, on its device; ModelError if one is missing or damaged."""
    from eve_cli.models import lora
    from eve_cli.models.editor import Editor

    path = folder.resolve(request.model)
    manifest = folder.read(path)
    hashes = {name: str(entry["sha256"]) for name, entry in manifest.files.items()}
    style = None
    if request.lora is not None:
        style = lora.load(request.lora)
        style.check_fits(request.lora, request.model, manifest)
        hashes[f"{lora.ADAPTER}/{lora.WEIGHTS}"] = style.sha256
    device = pick_device(request.device)
    torch.set_flush_denormal(True)
    editor = Editor.load(path, device, pick_dtype(request.dtype, device), style.weights if style else None)
    return LoadedModel(editor.quicken(), request.model, hashes, style)


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
    """What the record of a run keeps of its model, and of its LoRA if there is one."""
    kept = {"name": model.name, "sha256": model.hashes}
    return kept | ({"lora": {"token": model.lora.token, "kind": model.lora.kind}} if model.lora else {})
