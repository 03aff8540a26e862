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
from eve_cli.storage.headers import shape_text, utf8_name

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
    """As `read`, from tensors by the names in a file; ModelError too for layers of another shape."""
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
    if not stored:
        raise ModelError(f"{origin} has no weights in it: download it again.")
    weights = LoraWeights(*(dict(_peft(layers, origin, scale)) for layers in networks.values()))
    check_shapes(weights.unet, unet, origin)
    if text is not None:
        check_shapes(weights.text, text, origin)
    return weights


def check_shapes(weights: Mapping[str, Tensor], network: nn.Module, origin: Path | str) -> None:
    """ModelError unless low-rank weights by peft's names have the shapes of a network's layers; `origin` names them."""
    modules: dict[str, Any] = dict(network.named_modules())
    for name, down in weights.items():
        if not name.endswith(DOWN):
            continue
        layer = name.removesuffix(DOWN)
        up, target = weights.get(f"{layer}.lora_B.weight"), modules.get(layer)
        if up is None or target is None:
            continue  # `low_rank.attach` refuses what fits no layer
        rank, expected = max([1, *down.shape[:1]]), tuple(target.weight.shape)
        for part, actual, needed in (
            ("down", tuple(down.shape), (rank, *expected[1:])),
            ("up", tuple(up.shape), (expected[0], rank, *[1] * (len(expected) - 2))),
        ):
            if actual != needed:
                raise ModelError(
                    f"{origin}: the {part} weights of {layer} have the shape {shape_text(actual)}, and this model's "
                    f"layer needs {shape_text(needed)}: it was made for another model."
                )


def load(file: Path) -> dict[str, Tensor]:
    """The tensors in a file by its own names; ModelError, in one sentence, if it is none that eve reads."""
    if file.suffix in PICKLES:
        raise ModelError(f"{file} is a pickle file, which can run code when it is read: convert it to .safetensors.")
    if not file.is_file():
        raise ModelError(f"There is no LoRA at {file}: give a .safetensors file, or a folder with one.")
    try:
        with utf8_name(file) as name:
            stored = load_file(name)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} is damaged or no safetensors file ({error}): download it again.") from None
    check_finite(stored.items(), str(file))
    return stored


def check_finite(tensors: Iterable[tuple[str, Tensor]], origin: str) -> None:
    """ModelError, with the name of the tensor, where a value is not finite; `origin` says what holds the tensors."""
    for name, tensor in tensors:
        if not bool(tensor.float().isfinite().all()):
            raise ModelError(f"{origin}: {name} has values that are not finite: download it again, or train it again.")


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
        if "alpha" in tensors and tensors["alpha"].numel() != 1:
            raise ModelError(
                f"{origin}: the alpha of {layer} has the shape {shape_text(tensors['alpha'].shape)}, and is no number."
            )
        strength = scale * (float(tensors["alpha"]) / max([1, *down.shape[:1]]) if "alpha" in tensors else 1.0)
        yield f"{layer}{DOWN}", down
        yield f"{layer}.lora_B.weight", up * strength if strength != 1 else up
