"""ViCLIP as frozen eyes: clips and texts to features that can be compared, from a file of weights."""

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
from eve_cli.perception.viclip_inputs import PREPARATIONS, tokenizer
from eve_cli.storage.headers import compare, shapes


class ViclipEyes:
    """Clips and texts to unit features (n, dim), float32 on the CPU; nothing of it learns.

    A clip is uint8 frames (n, 3, height, width), prepared as a row of `PREPARATIONS` says.
    """

    def __init__(self, model: Viclip, words: Any, preparation: str = "internvid") -> None:
        self.model = model.requires_grad_(False).eval()
        self.words, self.prepare = words, PREPARATIONS[preparation]

    @property
    def context(self) -> int:
        """How many tokens of a text are read."""
        return self.model.sizes.context

    @classmethod
    def load(cls, path: Path, sizes: ViclipSizes, preparation: str = "internvid", device: str = "cpu") -> ViclipEyes:
        """From a .safetensors or .pth file whose folder has a tokenizer; ModelError with all that is wrong with it."""
        state = read(path)
        wrong = compare(file_shapes(sizes), {name: tuple(tensor.shape) for name, tensor in state.items()})
        if wrong:
            raise ModelError(f"{path} holds no usable ViCLIP: {wrong[0]}")
        with torch.device("meta"):
            model = Viclip(sizes)
        model.load_state_dict({k: v.float() for k, v in from_file(state).items()}, strict=True, assign=True)
        positions: Any = model.text.text_model.embeddings
        positions.position_ids = torch.arange(sizes.context).view(1, -1)  # which no file holds
        return cls(model.to(device), tokenizer(path.parent, sizes.context), preparation)

    @torch.inference_mode()
    def look(self, frames: Tensor) -> Tensor:
        """The unit features (1, dim) of a clip."""
        clip = self.prepare(frames.cpu(), self.model.sizes.frames, self.model.sizes.side)
        return self._unit(self.model.look(clip.unsqueeze(0).to(self.model.temp.device)))

    @torch.inference_mode()
    def read(self, texts: Sequence[str]) -> Tensor:
        """Unit features of texts; one that is too long loses its end (see `cut`)."""
        ids = self.words(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self.context,
            return_tensors="pt",
        ).input_ids
        return self._unit(self.model.read(ids.to(self.model.temp.device)))

    def cut(self, text: str) -> bool:
        """Whether a text is too long to be read to its end."""
        return len(self.words(text, verbose=False).input_ids) > self.context

    @staticmethod
    def _unit(found: Tensor) -> Tensor:
        return F.normalize(found.float(), dim=-1).cpu()


def read(path: Path) -> Mapping[str, Tensor]:
    """A checkpoint's tensors: safetensors, or a .pth that holds nothing but tensors (`weights_only`); ModelError."""
    try:
        if path.suffix == ".safetensors":
            shapes(path)  # for its sentences
            return load_file(path)
        held = torch.load(path, map_location="cpu", weights_only=True)
        return held.get("model", held)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{path} cannot be read as weights ({first_line(error)}).") from error


def sizes_of(folder: Path) -> ViclipSizes | None:
    """The sizes that a folder's config.json spells out, as ours do; None where it does not."""
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return ViclipSizes(**told["sizes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save(model: Viclip, words: Any, folder: Path) -> None:
    """Writes a ViCLIP as a released one lies there, in half precision, with its sizes and its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().half() for name, tensor in to_file(model.state_dict()).items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    told = {"sizes": asdict(model.sizes)}
    (folder / "config.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    words.save_pretrained(folder)
