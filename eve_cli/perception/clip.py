"""CLIP as a frozen encoder of frames and texts, from a folder in the layout of transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from PIL import Image
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.utils import logging

from eve_cli.errors import ModelError

CONTEXT = 77  # tokens of a text, where the tokenizer names no sensible length


class Clip:
    """Frames and texts to unit features (n, dim), float32 on the CPU; frozen.

    Frames are uint8 (n, 3, height, width), prepared by the Pillow image processor: torchvision's resizes differently,
    and installing it must not change a score.
    """

    def __init__(self, model: CLIPModel, tokenizer: Any, processor: Any, batch: int = 32) -> None:
        self.model = model.requires_grad_(False).eval()
        self.tokenizer, self.processor, self.batch = tokenizer, processor, batch

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", processor: Path | None = None, batch: int = 32) -> Clip:
        """From a folder with config.json, model.safetensors and a tokenizer; ModelError if it holds no CLIP.

        `processor` is the folder of the tokenizer and the image processor where that is another one.
        """
        home = processor or folder
        try:
            model = load_quietly(CLIPModel, folder)
            tokenizer = CLIPTokenizer.from_pretrained(home, local_files_only=True)
            return cls(model.to(device), tokenizer, image_processor(home), batch)  # pyright: ignore
        except Exception as error:  # transformers raises anything from OSError to RuntimeError
            raise ModelError(f"{folder} holds no usable CLIP ({first_line(error)}): try `eve eval doctor`.") from error

    @property
    def scale(self) -> float:
        """exp(logit_scale), by which cosines are multiplied to give logits."""
        return float(self.model.logit_scale.exp().float())

    @torch.inference_mode()
    def encode_frames(self, frames: Tensor, square: int | None = None, projected: bool = True) -> Tensor:
        """Unit features of frames; `square` first resizes them to that side (Pillow's bicubic, as the TGVE script).

        Without `projected`, the vision tower's pooled output before its projection.
        """
        return torch.cat([self._encode(piece, square, projected) for piece in frames.split(self.batch)])

    def _encode(self, frames: Tensor, square: int | None, projected: bool) -> Tensor:
        pictures = [Image.fromarray(frame.numpy()) for frame in frames.cpu().permute(0, 2, 3, 1).contiguous()]
        if square:
            pictures = [picture.resize((square, square)) for picture in pictures]
        pixels = self.processor(images=pictures, return_tensors="pt")["pixel_values"].to(self.model.device)
        tower = self.model.get_image_features if projected else self.model.vision_model
        return F.normalize(features(tower(pixel_values=pixels)).float(), dim=-1).cpu()

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit features of texts; a text that is too long loses its end (see `is_truncated`)."""
        ids = self.tokenizer(list(texts), padding=True, truncation=True, max_length=self.context, return_tensors="pt")
        output = self.model.get_text_features(**{k: v.to(self.model.device) for k, v in ids.items()})
        return F.normalize(features(output).float(), dim=-1).cpu()

    def is_truncated(self, text: str) -> bool:
        """Whether a text is too long and is truncated."""
        return len(self.tokenizer(text, verbose=False)["input_ids"]) > self.context

    @property
    def context(self) -> int:
        """The number of tokens that a text may have, its start and end among them."""
        config: Any = self.model.config.text_config
        return min(int(config.max_position_embeddings), self.tokenizer.model_max_length)


def load_quietly(kind: Any, folder: Path, **options: Any) -> Any:
    """A network of transformers from a folder in full precision, without progress bars.

    From model.safetensors, or else from pytorch_model.bin, of which nothing but tensors is read (`weights_only`).
    ModelError where tensors are missing, which transformers would initialise at random.
    """
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        safe = (folder / "model.safetensors").is_file()
        options |= {"local_files_only": True, "use_safetensors": safe, "weights_only": True, "dtype": torch.float32}
        model, info = kind.from_pretrained(folder, output_loading_info=True, **options)
    finally:
        if bars:
            logging.enable_progress_bar()
    if info["missing_keys"]:
        raise ModelError(f"it lacks {len(info['missing_keys'])} tensors, such as {min(info['missing_keys'])}")
    return model


def features(output: Any) -> Tensor:
    """The features in the output of transformers: a tensor before version 5, `output.pooler_output` since."""
    return output if isinstance(output, Tensor) else output.pooler_output


def image_processor(folder: Path) -> Any:
    """CLIP's image processor by Pillow, from preprocessor_config.json or from the newer processor_config.json."""
    name = "CLIPImageProcessorPil" if hasattr(transformers, "CLIPImageProcessorPil") else "CLIPImageProcessor"
    kind = getattr(transformers, name)  # before version 5 the Pillow processor had the plain name
    old, new = folder / "preprocessor_config.json", folder / "processor_config.json"
    if not old.is_file() and not new.is_file():
        raise ModelError(f"{folder} has neither {old.name} nor {new.name}.")
    config = json.loads((old if old.is_file() else new).read_text(encoding="utf-8"))
    config = config.get("image_processor", config)
    names = ("size", "crop_size", "do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")
    names += ("image_mean", "image_std", "resample", "rescale_factor")
    return kind(**{name: _sized(name, config[name]) for name in names if name in config})


def _sized(name: str, value: Any) -> Any:
    """Files of 2021 give a size as one number: the shorter side of `size`, both sides of `crop_size`."""
    if isinstance(value, int) and name in ("size", "crop_size"):
        return {"shortest_edge": value} if name == "size" else {"height": value, "width": value}
    return value


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without its full stop."""
    return (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")


def file_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The names and shapes that the weights beside a config.json must have, computed on the meta device."""
    try:
        config = CLIPConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            return {name: tuple(tensor.shape) for name, tensor in CLIPModel(config).state_dict().items()}
    except Exception as error:
        raise ModelError(f"{folder / 'config.json'} describes no CLIP ({first_line(error)}).") from error
