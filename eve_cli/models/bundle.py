"""A model in a folder: diffusers' own layout and file names, with a bundle.json beside them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    ControlNetModel,
    MotionAdapter,
    SparseControlNetModel,
    UNet2DConditionModel,
)
from diffusers.utils import logging as diffusers_logging
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from eve_cli.diffusion.schedule import Schedule, diffusers_config
from eve_cli.errors import EveError, ModelError, OutOfMemory, is_out_of_memory
from eve_cli.models import lora_files, low_rank
from eve_cli.models.adapters import VideoAdapter
from eve_cli.models.bundle_manifest import (
    FOLDERS,
    MANIFEST,
    SCHEDULES,
    Manifest,
    appearing,
    link_folder,
    model_index,
    read,
    resolve,
    verify,
    write,
    write_json,
)
from eve_cli.models.families import sd15
from eve_cli.models.parts import BundleSettings, Parts
from eve_cli.models.presets import PRESETS

__all__ = ["load", "read", "resolve", "save", "verify"]

CLASSES: dict[str, Any] = {
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "backbone": UNet2DConditionModel,
    "edit": ControlNetModel,
    "instruction_encoder": CLIPTextModel,
    "sparse": SparseControlNetModel,
    "video": MotionAdapter,
}
REQUIRED = ("vae", "text_encoder", "tokenizer", "backbone", "schedule")
OPTIONAL = ("edit", "instruction_encoder", "video", "sparse", "domain", "align", "image_schedule")
COMPANIONS = {"sparse": "video", "domain": "video", "image_schedule": "backbone"}
"""Parts that come with another, where a bundle has them."""
FIRST_FRAME = "first_frame.safetensors"
ALIGN = "pytorch_lora_weights.safetensors"


def load(path: str | Path, parts: Iterable[str] | None = None, dtype: torch.dtype = torch.float32) -> Parts:
    """The parts of a bundle, frozen and on the CPU, after every file's hash is checked.

    `parts` names the adapters to load, of `OPTIONAL`; None loads all that the bundle has. ModelError, in one sentence,
    if a file is missing, damaged, unlisted or a pickle, or if the bundle lacks a requested part.
    """
    path = Path(path)
    manifest = read(path)
    requested = {*REQUIRED, *(manifest.parts if parts is None else parts)}
    requested |= {part for part, owner in COMPANIONS.items() if owner in requested and part in manifest.parts}
    optional = tuple(part for part in OPTIONAL if part in requested)
    for part in (*REQUIRED, *optional):
        if part not in manifest.parts:
            raise ModelError(f"The model {path} has no {FOLDERS[part]} folder, and that part was asked for.")
    verify(path, (*REQUIRED, *optional), again=False)
    settings = _settings(manifest)
    with _quiet():
        loaded = {part: _load_part(part, path / FOLDERS[part], settings, dtype) for part in (*REQUIRED, *optional)}
        if "domain" in loaded:
            domain = lora_files.read(path / FOLDERS["domain"] / ALIGN, loaded["backbone"], scale=settings.domain_scale)
            loaded["domain"] = {name: tensor.to(dtype) for name, tensor in domain.unet.items()}
    return Parts(**loaded, settings=settings).freeze()


def meta_copy(name: str | Path) -> Parts:
    """The parts of a bundle, or of a preset that is not on this machine, without their weights: on the meta device.

    For counting what computing with them takes; nothing but configs and small tables is read.
    """
    try:
        path = resolve(name)
    except ModelError:
        if name not in PRESETS or not PRESETS[str(name)].sources:
            raise
        return sd15.meta_copy(PRESETS[str(name)])
    manifest = read(path)
    settings = _settings(manifest)
    modules: dict[str, Any] = {}
    with _quiet(), torch.device("meta"):
        for part in manifest.parts:
            place = path / FOLDERS[part]
            if part in CLASSES:
                modules[part] = empty(part, json.loads((place / "config.json").read_text(encoding="utf-8")))
    for part in ("tokenizer", *(name for name in SCHEDULES if name in manifest.parts)):
        modules[part] = _load_part(part, path / FOLDERS[part], settings, torch.float32)
    if "video" in modules:
        with torch.device("meta"):
            channels = 0 if settings.first_frame == "sparse" else modules["backbone"].config["in_channels"]
            modules["video"] = VideoAdapter(modules["video"], channels, settings.first_frame)
    return Parts(**modules, settings=settings).freeze()


def empty(part: str, config: Mapping[str, Any]) -> Any:
    """A part of this config, untrained."""
    if CLASSES.get(part) is CLIPTextModel:
        return CLIPTextModel(CLIPTextConfig.from_dict(dict(config)))
    if part == "vae" and config.get("_class_name") == "AutoencoderDC":
        return AutoencoderDC.from_config(dict(config))
    return CLASSES[part].from_config(dict(config))


def save(
    parts: Parts,
    path: str | Path,
    training: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
    origin: Path | None = None,
    trained: Iterable[nn.Module] = (),
) -> Path:
    """Writes the parts as a bundle; `path` appears whole or not at all, and an older bundle there is replaced.

    Weights are stored as `dtype`. With `origin`, the bundle that the parts were loaded from, those that hold nothing of
    `trained` keep its very files, shared where the disk can. OutputError if the folder above `path` is missing or
    something else is at `path`.
    """
    path = Path(path).absolute()
    with appearing(path, MANIFEST, "model") as fresh:
        with _quiet():
            _write_parts(parts, fresh, dtype, _kept(parts, origin, trained))
        write(fresh, dataclasses.asdict(parts.settings), training, scores, read(origin).sources if origin else None)
    return path


def _load_part(part: str, folder: Path, settings: BundleSettings, dtype: torch.dtype) -> Any:
    try:
        if part == "tokenizer":
            return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        if part in SCHEDULES:
            return Schedule.from_diffusers(json.loads((folder / "scheduler_config.json").read_text(encoding="utf-8")))
        if part == "domain":
            return None  # which needs the backbone's names: see `load`
        if part == "align":
            return {name.removeprefix("unet."): tensor.to(dtype) for name, tensor in load_file(folder / ALIGN).items()}
        if part == "video":
            return _load_video(folder, settings, dtype)
        return _from_pretrained(_kind(part, folder), folder, dtype)
    except EveError:
        raise
    except Exception as error:  # these libraries raise anything from KeyError to RuntimeError on bad files
        if is_out_of_memory(error):
            raise OutOfMemory(
                f"Memory ran out while the model was loaded ({folder}): choose a smaller model."
            ) from error
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise ModelError(
            f"{folder} cannot be read ({type(error).__name__}: {reason}): copy the model again."
        ) from error


def _kind(part: str, folder: Path) -> type[Any]:
    """The class of a part; a vae says in its config which of the two kinds it is."""
    if part == "vae":
        name = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("_class_name")
        return AutoencoderDC if name == "AutoencoderDC" else AutoencoderKL
    return CLASSES[part]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the libraries' own progress bars and warnings back; what is wrong is said by ModelErrors."""
    levels = [library.get_verbosity() for library in (diffusers_logging, transformers_logging)]
    bars = transformers_logging.is_progress_bar_enabled()
    diffusers_logging.set_verbosity(diffusers_logging.CRITICAL)
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(levels[0])
        transformers_logging.set_verbosity(levels[1])
        if bars:
            transformers_logging.enable_progress_bar()


def _from_pretrained(kind: type[Any], folder: Path, dtype: torch.dtype) -> Any:
    """A part by its plain class; unlike that class alone, it refuses weights that are missing, extra or misshapen."""
    options: dict[str, Any] = {"dtype" if kind is CLIPTextModel else "torch_dtype": dtype}
    from_pretrained: Any = kind.from_pretrained
    module, info = from_pretrained(
        folder, local_files_only=True, use_safetensors=True, output_loading_info=True, **options
    )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(problem):
            raise ModelError(
                f"{folder} has {problem.replace('_', ' ')} ({next(iter(info[problem]))}): it is no {kind.__name__}."
            )
    return module


def _load_video(folder: Path, settings: BundleSettings, dtype: torch.dtype) -> VideoAdapter:
    motion = _from_pretrained(MotionAdapter, folder, dtype)
    if settings.first_frame == "sparse":
        return VideoAdapter(motion, 0, settings.first_frame)
    first = load_file(folder / FIRST_FRAME)
    adapter = VideoAdapter(motion, first["weight"].shape[1] - 1, settings.first_frame).to(dtype)
    assert adapter.first is not None
    adapter.first.load_state_dict(first)
    return adapter


def _kept(parts: Parts, origin: Path | None, trained: Iterable[nn.Module]) -> dict[str, Path]:
    """The folders of the parts that are as they were."""
    changed = {id(parameter) for module in trained for parameter in module.parameters()}
    return {
        part: origin / FOLDERS[part]
        for part, module in parts.modules()
        if origin and (origin / FOLDERS[part]).is_dir() and not any(id(p) in changed for p in module.parameters())
    }


def _write_parts(parts: Parts, folder: Path, dtype: torch.dtype, unchanged: Mapping[str, Path]) -> None:
    for part, module in parts.modules():
        target = folder / FOLDERS[part]
        if part in unchanged:
            link_folder(unchanged[part], target)
        elif part == "video":
            assert parts.video is not None
            _write_diffusers(parts.video.motion, target, dtype)
            if parts.video.first is not None:
                save_file(_stored(parts.video.first, dtype), target / FIRST_FRAME)
        elif CLASSES[part] is CLIPTextModel:
            module.save_pretrained(target, state_dict=_stored(module, dtype))  # pyright: ignore
        else:
            _write_diffusers(module, target, dtype)
    parts.tokenizer.save_pretrained(folder / FOLDERS["tokenizer"])
    for part in SCHEDULES:
        schedule: Schedule | None = getattr(parts, part)
        if schedule is not None:
            (folder / FOLDERS[part]).mkdir()
            config = {"_class_name": "DDIMScheduler", **diffusers_config(schedule)}
            write_json(config, folder / FOLDERS[part] / "scheduler_config.json")
    for part, scale in (("align", 1.0), ("domain", parts.settings.domain_scale)):
        weights: dict[str, Tensor] | None = getattr(parts, part)
        if weights is not None:
            (folder / FOLDERS[part]).mkdir()
            plain = low_rank.scaled(weights, 1 / scale) if scale != 1 else weights
            lora = {f"unet.{name}": tensor.detach().to("cpu", dtype).contiguous() for name, tensor in plain.items()}
            save_file(lora, folder / FOLDERS[part] / ALIGN, metadata={"format": "pt"})
    index = model_index([name for name, _ in parts.modules()], type(parts.vae).__name__)
    write_json(index, folder / "model_index.json")


def _write_diffusers(module: Any, folder: Path, dtype: torch.dtype) -> None:
    module.save_config(folder)
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)  # the local path is private
    write_json(config, file)
    save_file(_stored(module, dtype), folder / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})


def _stored(module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """A module's weights as they are stored; ModelError if one is not finite or does not fit the type."""
    stored = {}
    for name, tensor in module.state_dict().items():
        stored_tensor = tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
        if stored_tensor.is_floating_point() and not bool(stored_tensor.isfinite().all()):
            raise ModelError(f"The weights {name} are not finite as {dtype}: the model was not saved.")
        stored[name] = stored_tensor
    return stored


def _settings(manifest: Manifest) -> BundleSettings:
    known = {item.name for item in dataclasses.fields(BundleSettings)}
    if unknown := sorted(set(manifest.settings) - known):
        raise ModelError(f"{manifest.path / MANIFEST} has a setting {unknown[0]!r} that this eve lacks: update eve.")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in manifest.settings.items()
    }
    try:
        return BundleSettings(**values)
    except ValueError as error:
        raise ModelError(f"{manifest.path / MANIFEST}: {error}") from error
