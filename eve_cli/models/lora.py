"""A LoRA for a subject or a style: low-rank layers on the backbone, in a folder that diffusers reads too.

The folder holds `pytorch_lora_weights.safetensors`, with names that begin with `unet.` and a scale of 1, and a
`lora.json` that says its token and the backbone that it was trained for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors.torch import save_file
from torch import Tensor, nn

from eve_cli.errors import ModelError, UsageError
from eve_cli.models import bundle_manifest, lora_files, low_rank
from eve_cli.models.bundle_manifest import Manifest
from eve_cli.models.low_rank import Unet
from eve_cli.storage.hashing import file_sha256
from eve_cli.storage.paths import expanded

if TYPE_CHECKING:
    from eve_cli.models.parts import Parts

FORMAT, VERSION = "eve-lora", 1
CARD, WEIGHTS = "lora.json", "pytorch_lora_weights.safetensors"
ADAPTER = "lora"
Kind = Literal["subject", "style", "file"]
"""What a LoRA of ours is for; `file` is one of another tool, which does not say."""


@dataclass(frozen=True)
class Lora:
    """Low-rank weights by peft's names, and what they are for."""

    weights: Mapping[str, Tensor]
    token: str
    """The word that asks for the subject or the style."""
    kind: Kind
    model: str
    """Name of the model that it was trained for."""
    backbone: str
    """The sha256 of that model's backbone (`Manifest.backbone`)."""
    training: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""
    """Of its file of weights, once it is in one."""
    origin: Path | None = None
    """That file, if another tool wrote it; then `weights` has the names of that file."""

    @property
    def rank(self) -> int:
        """The largest rank of a layer."""
        return max(tensor.shape[0] for name, tensor in self.weights.items() if name.endswith(low_rank.DOWN))

    @property
    def name(self) -> str:
        """Its token, or the name of its file."""
        return self.token or (self.origin.stem if self.origin else "")

    def words(self, text: str) -> str:
        """A text without the token, which is no word that a model has to know."""
        return text.casefold().replace(self.token.casefold(), " ") if self.token else text

    def check_fits(self, path: Path, model: str, manifest: Manifest) -> None:
        """ModelError unless it was made for the backbone of this model."""
        if self.backbone != manifest.backbone:
            raise ModelError(
                f"The LoRA {path} was made for {self.model} (backbone {self.backbone[:12]}…), and {model} has another "
                f"backbone ({manifest.backbone[:12]}…): edit with the model that it was made for, or train it again."
            )


def parse(text: str | None) -> list[tuple[Path, float]]:
    """`PATH[:X],PATH[:X]` as paths with their strengths; UsageError for a strength without a path."""
    pairs = []
    for item in filter(None, (each.strip() for each in (text or "").split(","))):
        path, colon, tail = item.rpartition(":")
        try:
            place, scale = (path, float(tail)) if colon else (item, 1.0)
        except ValueError:
            place, scale = item, 1.0
        if not place:
            raise UsageError(f"--lora must look like PATH or PATH:0.8, not {item!r}.")
        if not math.isfinite(scale):
            raise UsageError(f"--lora {item}: the scale must be a finite number, such as 0.8.")
        pairs.append((expanded(place), scale))
    return pairs


def find(path: Path, model: str, manifest: Manifest) -> Lora:
    """The LoRA in one of our folders, which must be of this model's backbone, or in a file of another tool."""
    if path.is_dir() and (path / CARD).is_file():
        found = load(path)
        found.check_fits(path, model, manifest)
        return found
    files = sorted(path.glob("[!.]*.safetensors")) if path.is_dir() else []
    if path.is_dir() and len(files) != 1:
        raise ModelError(f"{path} is not a LoRA of eve: it has no {CARD}, and {len(files)} .safetensors files.")
    if not path.is_dir() and not path.suffix:
        return load(path)  # says that there is none
    file = files[0] if files else path
    stored = lora_files.load(file)
    return Lora(stored, "", "file", model, manifest.backbone, sha256=file_sha256(file), origin=file)


def joined(loras: Sequence[Lora], scales: Sequence[float], parts: Parts) -> dict[str, Tensor] | None:
    """The weights of several LoRAs as one set for the backbone, exactly; None if there are none.

    What files of other tools hold for the text encoder is added to that of `parts`.
    """
    total: dict[str, Tensor] | None = None
    for lora, scale in zip(loras, scales, strict=True):
        if lora.origin is not None:
            converted = lora_files.convert(lora.weights, lora.origin, parts.backbone, parts.text_encoder, scale)
            lora_files.merge(parts.text_encoder, converted.text)
            weights = converted.unet
        else:
            lora_files.check_shapes(lora.weights, parts.backbone, f"The LoRA {lora.name}")
            weights = low_rank.scaled(lora.weights, scale) if scale != 1 else dict(lora.weights)
        if weights:
            total = weights if total is None else low_rank.joined(total, weights)
    return total


def add(unet: Unet, rank: int) -> list[nn.Parameter]:
    """Puts a fresh LoRA, which changes nothing yet, into a UNet; returns its parameters."""
    return low_rank.add(unet, ADAPTER, rank)


def attach(unet: Unet, weights: Mapping[str, Tensor]) -> None:
    """Puts a trained LoRA into a UNet, frozen; ModelError if it does not fit."""
    try:
        low_rank.attach(unet, ADAPTER, weights)
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise ModelError(f"The LoRA does not fit the model's backbone ({reason}).") from error


def weights(unet: Unet) -> dict[str, Tensor]:
    """The weights of the LoRA in a UNet, as `Lora` holds them."""
    return low_rank.weights(unet, ADAPTER)


def save(lora: Lora, path: str | Path) -> Path:
    """Writes a LoRA as a folder, which appears whole or not at all; an older LoRA there is replaced."""
    path = Path(path).absolute()
    with bundle_manifest.appearing(path, CARD, "LoRA") as fresh:
        stored = {f"unet.{name}": tensor.detach().float().cpu().contiguous() for name, tensor in lora.weights.items()}
        if not all(bool(tensor.isfinite().all()) for tensor in stored.values()):
            raise ModelError("The LoRA's weights are not finite: it was not saved.")
        save_file(stored, fresh / WEIGHTS, metadata={"format": "pt"})
        card = {
            "format": FORMAT,
            "version": VERSION,
            "token": lora.token,
            "kind": lora.kind,
            "rank": lora.rank,
            "model": lora.model,
            "backbone": lora.backbone,
            "sha256": file_sha256(fresh / WEIGHTS),
            "training": dict(lora.training),
        }
        text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
        (fresh / CARD).write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def load(path: str | Path) -> Lora:
    """The LoRA in a folder; ModelError, in one sentence, if it is missing, damaged or of another format."""
    path = expanded(path)
    card = _card(path)
    file = path / WEIGHTS
    if not file.is_file():
        raise ModelError(f"{file} is missing: copy the LoRA again.")
    if file_sha256(file) != card["sha256"]:
        raise ModelError(f"{file} is damaged (its sha256 is not the one in {CARD}): copy the LoRA again.")
    weights = {name.removeprefix("unet."): tensor for name, tensor in lora_files.load(file).items()}
    fields = {key: card[key] for key in ("token", "kind", "model", "backbone", "training", "sha256")}
    return Lora(weights, **fields)


def _card(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise ModelError(f"There is no LoRA at {path}: a LoRA is a folder with a {CARD}; make one with eve train lora.")
    try:
        card = json.loads((path / CARD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is not a LoRA of eve: it has no {CARD}.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path / CARD} cannot be read ({error}): copy the LoRA again.") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ModelError(f"{path / CARD} is not of the format {FORMAT}: this is not a LoRA of eve.")
    if card.get("version") != VERSION:
        raise ModelError(f"{path} is a LoRA of version {card.get('version')} and this eve reads {VERSION}: update eve.")
    texts = ("token", "kind", "model", "backbone", "sha256")
    if not all(isinstance(card.get(key), str) for key in texts) or not isinstance(card.get("training"), dict):
        raise ModelError(f"{path / CARD} does not say what the LoRA is for: copy the LoRA again.")
    return card
