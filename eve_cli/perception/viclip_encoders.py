"""ViCLIP as a frozen encoder: clips and texts to features that can be compared, from a file of weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from eve_cli.errors import ModelError
from eve_cli.perception.clip import first_line
from eve_cli.perception.viclip import Viclip, ViclipSizes, file_shapes, from_file, to_file
from eve_cli.perception.viclip_inputs import PREPARATIONS, load_tokenizer
from eve_cli.storage.headers import compare, shapes


class ViclipEncoder:
    """Clips and texts to unit features (n, dim), float32 on the CPU; frozen.

    A clip is uint8 frames (n, 3, height, width), prepared as a row of `PREPARATIONS` says.
    """

    def __init__(self, model: Viclip, tokenizer: Any, preparation: str = "internvid") -> None:
        self.model = model.requires_grad_(False).eval()
        self.tokenizer, self.prepare = tokenizer, PREPARATIONS[preparation]

    @property
    def context(self) -> int:
        """How many tokens of a text are read."""
        return self.model.sizes.context

    @classmethod
    def load(cls, path: Path, sizes: ViclipSizes, preparation: str = "internvid", device: str = "cpu") -> ViclipEncoder:
        """From a .safetensors or .pth file whose folder has a tokenizer; ModelError naming the first mismatch."""
        state = read(path)
        wrong = compare(file_shapes(sizes), {name: tuple(tensor.shape) for name, tensor in state.items()})
        if wrong:
            raise ModelError(f"{path} holds no usable ViCLIP: {wrong[0]}")
        with torch.device("meta"):
            model = Viclip(sizes)
        model.load_state_dict({k: v.float() for k, v in from_file(state).items()}, strict=True, assign=True)
        positions: Any = model.text.text_model.embeddings
        positions.position_ids = torch.arange(sizes.context).view(1, -1)  # not stored in checkpoints
        return cls(model.to(device), load_tokenizer(path.parent, sizes.context), preparation)

    @torch.inference_mode()
    def encode_frames(self, frames: Tensor) -> Tensor:
        """The unit features (1, dim) of a clip."""
        clip = self.prepare(frames.cpu(), self.model.sizes.frames, self.model.sizes.side)
        return self._unit(self.model.encode_clips(clip.unsqueeze(0).to(self.model.temp.device)))

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit features of texts; one that is too long loses its end (see `is_truncated`)."""
        ids = self.tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self.context,
            return_tensors="pt",
        ).input_ids
        return self._unit(self.model.encode_texts(ids.to(self.model.temp.device)))

    def is_truncated(self, text: str) -> bool:
        """Whether a text is too long and is truncated."""
        return len(self.tokenizer(text, verbose=False).input_ids) > self.context

    @staticmethod
    def _unit(features: Tensor) -> Tensor:
        return F.normalize(features.float(), dim=-1).cpu()


def read(path: Path) -> Mapping[str, Tensor]:
    """A checkpoint's tensors: safetensors, or a .pth that holds nothing but tensors (`weights_only`); ModelError."""
    try:
        if path.suffix == ".safetensors":
            shapes(path)  # for its sentences
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        return content.get("model", content)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{path} cannot be read as weights ({first_line(error)}).") from error


def sizes_of(folder: Path) -> ViclipSizes | None:
    """The sizes that a folder's config.json spells out, as ours do; None where it does not."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return ViclipSizes(**config["sizes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save(model: Viclip, tokenizer: Any, folder: Path) -> None:
    """Writes a ViCLIP as a released one lies there, in half precision, with its sizes and its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().half() for name, tensor in to_file(model.state_dict()).items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"sizes": asdict(model.sizes)}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)
