"""Checkpoints, written atomically: tensors in safetensors and the rest in JSON, no pickle."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from eve_cli.errors import EveError, OutputError
from eve_cli.storage.atomic import atomic_folder

FORMAT = 1
_NAME = re.compile(r"step-(\d{8})")


@dataclass
class Checkpoint:
    """The state of a run: tensor files by name, and plain values."""

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
    """Loads tensors named `module/key` into the modules; EveError where keys or shapes differ."""
    for name, module in modules.items():
        part = {key.split("/", 1)[1]: value for key, value in tensors.items() if key.split("/", 1)[0] == name}
        try:
            module.load_state_dict(part)
        except RuntimeError as error:
            first = str(error).splitlines()[-1].strip()
            raise EveError(f"The checkpoint does not fit the model: part {name!r}: {first}") from error


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The state of an optimizer as flat tensors, `parameter index/key`."""
    flat: dict[str, Tensor] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            flat[f"{index}/{key}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    return flat


def load_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Loads the tensors of `optimizer_tensors`; learning rates stay those of the optimizer."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split("/", 1)
        like = parameters[int(index)]
        if value.shape == like.shape:  # fused optimizers need a moment in the memory layout of its parameter
            value = torch.empty_like(like, dtype=value.dtype, device=value.device).copy_(value)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def folders(root: Path) -> list[Path]:
    """The finished checkpoints under a run's folder, oldest first."""
    parent = root / "checkpoints"
    return sorted(p for p in parent.iterdir() if p.is_dir() and _NAME.fullmatch(p.name)) if parent.is_dir() else []


def latest(root: Path) -> Path | None:
    """The newest finished checkpoint of a run."""
    return next(reversed(folders(root)), None)


def save(root: Path, checkpoint: Checkpoint, keep: int = 2) -> Path:
    """Writes a checkpoint atomically, then deletes the oldest beyond `keep`; OutputError where that fails."""
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
            f"Cannot read the checkpoint {folder}: {error}. Delete it to resume from the one before."
        ) from error
    if values.pop("format", None) != FORMAT:
        raise EveError(f"The checkpoint {folder} has another format than this version reads ({FORMAT}).")
    return Checkpoint(tensors, values)
