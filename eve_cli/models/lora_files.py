"""Files of low-rank weights as other tools write them: diffusers, peft, kohya and the webui."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from eve_cli.errors import ModelError
from eve_cli.models.bundle_manifest import PICKLES
from eve_cli.models.low_rank import DOWN

_WEIGHT = re.compile(r"(?P<layer>.+?)[._]lora[._]?(linear_layer\.)?(?P<role>down|up|A|B)(\.\w+)?\.weight")
_UNET = ("base_model.model.", "unet.", "lora_unet_")
_TEXT = ("text_encoder.", "lora_te_", "lora_te1_")
_DOWN = ("down", "A")
OTHER_KINDS = {"hada_": "a LoHa", "lokr_": "a LoKr", "dora_scale": "a DoRA", "oft_": "an OFT"}


@dataclass(frozen=True)
class LoraWeights:
    """Low-rank weights by peft's names, their scale and alpha in them; empty where a file has none for a network."""

    unet: dict[str, Tensor]
    text: dict[str, Tensor]


def read(file: Path, unet: nn.Module, text: nn.Module | None = None, scale: float = 1.0) -> LoraWeights:
    """The weights in a .safetensors file, `scale` times as strong, for these networks.

    Layers are found by their names, however a tool joins them. ModelError, in one sentence, if the file is missing, no
    safetensors file, of another kind than LoRA, or if a layer is none of the networks'.
    """
    return convert(load(file), file, unet, text, scale)


@torch.no_grad()
def merge(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Adds low-rank weights by peft's names to a network's own."""
    for name, down in weights.items():
        if name.endswith(DOWN):
            layer = name.removesuffix(DOWN)
            module: Any = network.get_submodule(layer)
            change = weights[f"{layer}.lora_B.weight"].flatten(1) @ down.flatten(1)
            module.weight.add_(change.view(module.weight.shape).to(module.weight))


def convert(
    stored: Mapping[str, Tensor], origin: Path, unet: nn.Module, text: nn.Module | None = None, scale: float = 1.0
) -> LoraWeights:
    """As `read`, from tensors by the names in a file."""
    names = {"unet": _flat(unet), "text": _flat(text) if text is not None else {}}
    networks: dict[str, dict[str, dict[str, Tensor]]] = {"unet": {}, "text": {}}
    for key, tensor in stored.items():
        parsed = _WEIGHT.fullmatch(key)
        role = "alpha" if key.endswith(".alpha") else parsed and ("down" if parsed["role"] in _DOWN else "up")
        if role is None:
            kind = next((kind for mark, kind in OTHER_KINDS.items() if mark in key), "no LoRA")
            raise ModelError(f"{origin} is {kind} ({key}): eve reads plain LoRA files only.")
        network, layer = _find(key.removesuffix(".alpha") if parsed is None else parsed["layer"], names)
        if layer is None:
            raise ModelError(f"{origin} changes {key}, which this model does not have: it was made for another model.")
        networks[network].setdefault(layer, {})[role] = tensor
    return LoraWeights(*(dict(_peft(layers, origin, scale)) for layers in networks.values()))


def load(file: Path) -> dict[str, Tensor]:
    """The tensors in a file by its own names; ModelError, in one sentence, if it is none that eve reads."""
    if file.suffix in PICKLES:
        raise ModelError(f"{file} is a pickle file, which can run code when it is read: convert it to .safetensors.")
    if not file.is_file():
        raise ModelError(f"There is no LoRA at {file}: give a .safetensors file, or a folder with one.")
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} is damaged or no safetensors file ({error}): download it again.") from None


def _flat(network: nn.Module) -> dict[str, str]:
    kinds = (nn.Linear, nn.Conv2d)
    return {name.replace(".", "_"): name for name, module in network.named_modules() if isinstance(module, kinds)}


def _find(layer: str, names: Mapping[str, Mapping[str, str]]) -> tuple[str, str | None]:
    """The network and the layer that a file's name means."""
    for network, prefixes in (("text", _TEXT), ("unet", (*_UNET, ""))):
        for prefix in prefixes:
            if layer.startswith(prefix):
                flat = layer.removeprefix(prefix).replace(".processor.", ".").replace(".", "_")
                guesses = (flat, f"{flat}_0", flat.removeprefix("text_model_"), f"text_model_{flat}")
                known = [names[network][guess] for guess in guesses if guess in names[network]]
                if known or prefix:
                    return network, known[0] if known else None
    return "unet", None


def _peft(layers: Mapping[str, Mapping[str, Tensor]], origin: Path, scale: float) -> Iterable[tuple[str, Tensor]]:
    for layer, tensors in layers.items():
        if "down" not in tensors or "up" not in tensors:
            raise ModelError(f"{origin} has half of a LoRA of {layer}: download it again.")
        down, up = tensors["down"].float(), tensors["up"].float()
        strength = scale * (float(tensors["alpha"]) / len(down) if "alpha" in tensors else 1.0)
        yield f"{layer}{DOWN}", down
        yield f"{layer}.lora_B.weight", up * strength if strength != 1 else up
