"""Parts in single .safetensors files, as the webui and the authors of AnimateDiff and ControlNet write them.

The names are changed by diffusers' own converters; what is inside is told by the names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffusers.loaders.single_file_utils import (
    convert_animatediff_checkpoint_to_diffusers,
    convert_controlnet_checkpoint,
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from eve_cli.errors import ModelError
from eve_cli.models.bundle_builder import Part, expected
from eve_cli.models.bundle_manifest import FOLDERS, PICKLES
from eve_cli.storage.headers import shapes

Configs = Callable[[str], Mapping[str, Any]]
"""The config.json of a part, by field name of `Parts`."""
UNET, CODEC, CLIP = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
NO_SD15 = {"conditioner.embedders.": "Stable Diffusion XL", "cond_stage_model.model.": "Stable Diffusion 2"}


def split(file: Path, config: Configs) -> dict[str, Part]:
    """The parts in a file, by field name of `Parts`, with their tensors by diffusers' names.

    `config` says what each part should be. ModelError, in one sentence, if the file is missing, cut short, a pickle, or
    holds nothing that is known.
    """
    tensors = _load(file)
    source = {"file": file.name}
    for mark, what in NO_SD15.items():
        if any(name.startswith(mark) for name in tensors):
            raise ModelError(f"{file} is a {what}: eve takes Stable Diffusion 1.5 here.")
    if any(name.startswith(UNET) for name in tensors):
        found = {"backbone": convert_ldm_unet_checkpoint(tensors, config("backbone"))}
        if any(name.startswith(CODEC) for name in tensors):
            found["vae"] = convert_ldm_vae_checkpoint(tensors, config("vae"))
        if any(name.startswith(CLIP) for name in tensors):
            found["text_encoder"] = convert_ldm_clip_checkpoint(tensors)
        return {part: Part(tensors=_whole(made), config=config(part), source=source) for part, made in found.items()}
    part = kind(tensors)
    if part is None:
        raise ModelError(f"{file} holds no part that eve knows ({next(iter(tensors), 'it is empty')} …).")
    if part == "lora":
        raise ModelError(f"{file} is a LoRA: give it to eve edit with --lora.")
    told, made = dict(config(part)), dict(tensors)
    if part == "edit":
        made = convert_controlnet_checkpoint(tensors, told)
    if part in ("video", "sparse"):
        made = convert_animatediff_checkpoint_to_diffusers(tensors)
    if part == "video":
        told["use_motion_mid_block"] = any(name.startswith("mid_block.") for name in made)
    return {part: Part(tensors=_with_places(part, _whole(made), told), config=told, source=source)}


def kind(names: Mapping[str, Any]) -> str | None:
    """Which part has tensors of these names; `lora`, or None."""
    if any(".lora" in name or "lora_" in name for name in names):
        return "lora"
    if "controlnet_cond_embedding.weight" in names:
        return "sparse"
    if "controlnet_cond_embedding.conv_in.weight" in names or any("input_hint_block." in name for name in names):
        return "edit"
    if any("motion_modules." in name for name in names):
        return "video"
    if "time_embedding.linear_1.weight" in names and "conv_out.weight" in names:
        return "backbone"
    return None


def _load(file: Path) -> dict[str, Tensor]:
    if file.suffix in PICKLES:
        raise ModelError(f"{file} is a pickle file, which can run code when it is read: convert it to .safetensors.")
    shapes(file)  # says what is wrong with a file in a sentence
    try:
        return {name.removeprefix("module."): tensor for name, tensor in load_file(file).items()}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} cannot be read ({error}): download it again.") from None


def _whole(made: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """Without what a converter looked for and did not find; the headers' check says what is missing."""
    return {name: tensor for name, tensor in made.items() if tensor is not None}


def _with_places(part: str, tensors: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """With the sinusoids that tell motion layers a frame's place, which the original files name otherwise."""
    if part not in ("video", "sparse"):
        return tensors
    like = next(iter(tensors.values()))
    for name, shape in expected(part, config).items():
        if name.endswith("pos_embed.pe") and name not in tensors:
            sinusoids: Any = SinusoidalPositionalEmbedding(shape[2], shape[1]).pe
            tensors[name] = sinusoids.to(like.dtype)
    return tensors


def of_folder(part: str, place: Path) -> Part:
    """A part in a folder of diffusers' form; ModelError if it has no weights, or only as a pickle."""
    files = {file.name: file for file in sorted(place.iterdir()) if file.is_file() and not file.name.startswith(".")}
    if part == "tokenizer":
        kept = {name: file for name, file in files.items() if file.suffix in (".json", ".txt")}
        return Part(kept, source={"file": place.name})
    weights = {name: file for name, file in files.items() if name.endswith(".safetensors")}
    if not weights:
        pickled = [name for name in files if Path(name).suffix in PICKLES]
        what = f"only as a pickle ({pickled[0]}), which can run code: save it as .safetensors" if pickled else "missing"
        raise ModelError(f"{place} has no weights for the {FOLDERS[part]}: they are {what}.")
    if "config.json" not in files:
        raise ModelError(f"{place} has no config.json: it is no part in diffusers' form.")
    plain = {name: file for name, file in weights.items() if ".fp16." not in name and ".non_ema." not in name}
    chosen = plain or {name.replace(".fp16.", "."): file for name, file in weights.items()}
    index = {name: file for name, file in files.items() if name.endswith(".index.json") and len(chosen) > 1}
    return Part({"config.json": place / "config.json", **chosen, **index}, source={"file": place.name})
