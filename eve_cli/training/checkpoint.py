"""Checkpoints: whole or not there at all, tensors in safetensors and the rest in JSON, no pickle."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from eve_cli.errors import EveError, OutputError
from eve_cli.storage.atomic import atomic_folder
from eve_cli.training.optimizers import load_optimizer, optimizer_tensors

__all__ = ["load_optimizer", "optimizer_tensors"]
FORMAT = 1
_NAME = re.compile(r"step-(\d{8})")


@dataclass
class Checkpoint:
    """All that a run needs to go on: tensor files by name, and plain values."""

    tensors: dict[str, dict[str, Tensor]]
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return int(self.values["step"])


def module_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Parameters and buffers of all modules, as `module/key`."""
    return {f"{name}/{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}


def load_modules(modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> None:
    """Puts tensors named `module/key` into the modules; every key must be there."""
    for name, module in modules.items():
        part = {key.split("/", 1)[1]: value for key, value in tensors.items() if key.split("/", 1)[0] == name}
        try:
            module.load_state_dict(part)
        except RuntimeError as error:
            first = str(error).splitlines()[-1].strip()
            raise EveError(f"The checkpoint does not fit the model: part {name!r}: {first}") from error


def folders(root: Path) -> list[Path]:
    """The finished checkpoints under a run's folder, oldest first."""
    home = root / "checkpoints"
    found = [p for p in home.iterdir() if p.is_dir() and _NAME.fullmatch(p.name)] if home.is_dir() else []
    return sorted(found)


def latest(root: Path) -> Path | None:
    """The newest finished checkpoint of a run."""
    found = folders(root)
    return found[-1] if found else None


def save(root: Path, checkpoint: Checkpoint, keep: int = 2) -> Path:
    """Writes a checkpoint: complete or not at all; then drops the oldest beyond `keep`."""
    target = root / "checkpoints" / f"step-{checkpoint.step:08d}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(target) as folder:
            for name, tensors in checkpoint.tensors.items():
                # clones: safetensors refuses tensors that share memory, as tied weights do
                content = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
                save_file(content, folder / f"{name}.safetensors")
            (folder / "state.json").write_text(json.dumps({"format": FORMAT} | checkpoint.values, indent=1))
        for old in folders(root)[:-keep]:
            shutil.rmtree(old)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"Cannot write the checkpoint {target}: {error}. The one before it is untouched.") from error
    return target


def load(folder: Path) -> Checkpoint:
    """Reads a checkpoint; EveError where a file is missing, damaged, or of a newer format."""
    try:
        values = json.loads((folder / "state.json").read_text())
        tensors = {file.stem: load_file(file) for file in sorted(folder.glob("*.safetensors"))}
    except (OSError, ValueError, SafetensorError) as error:
        raise EveError(
            f"Cannot read the checkpoint {folder}: {error}. Delete it to go on from the one before."
        ) from error
    if values.pop("format", None) != FORMAT:
        raise EveError(f"The checkpoint {folder} has another format than this version reads ({FORMAT}).")
    return Checkpoint(tensors, values)
