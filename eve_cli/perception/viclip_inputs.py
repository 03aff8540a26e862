"""Inputs of ViCLIP: three published ways of choosing and preparing frames, and its tokenizer."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPTokenizer

from eve_cli.errors import ModelError

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OPENAI = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
VOCABULARY_FILE = "bpe_simple_vocab_16e6.txt.gz"
MERGES = 49152 - 256 - 2  # that OpenAI's file is read to; it holds more


def every_step(count: int, length: int) -> list[int]:
    """Each (count // wanted)-th frame from the first; the last one again where there are too few (InternVid's demo)."""
    if count < length:
        return [*range(count), *[count - 1] * (length - count)]
    return list(range(0, count, count // length))[:length]


def middles(count: int, length: int) -> list[int]:
    """The middle frame of each of `length` equal parts; the last one again where there are too few (VBench)."""
    parts = min(count, length)
    edges = [index * count // parts for index in range(parts + 1)]
    chosen = [(low + high - 1) // 2 for low, high in pairwise(edges)]
    return chosen + [chosen[-1]] * (length - parts)


def starts(count: int, length: int) -> list[int]:
    """The first frame of each of `length` equal parts (EditVerse)."""
    return [index * count // length for index in range(length)]


@dataclass(frozen=True)
class Preparation:
    """Preparation of a clip for the network: which frames, how they are resized, and their normalisation."""

    choose: Callable[[int, int], list[int]]
    squash: bool  # to a square; else the shorter side is resized and the middle cut out
    mode: str
    antialias: bool
    statistics: tuple[Sequence[float], Sequence[float]]

    def __call__(self, frames: Tensor, length: int, side: int) -> Tensor:
        """uint8 frames (n, 3, height, width) to (wanted, 3, side, side); values are rounded as 8-bit resizers do."""
        chosen = frames[self.choose(len(frames), length)].float()
        height, width = chosen.shape[-2:]
        short = min(height, width)
        size = (side, side) if self.squash else (side * height // short, side * width // short)
        if size != (height, width):
            chosen = F.interpolate(chosen, size, mode=self.mode, align_corners=False, antialias=self.antialias)
        top, left = round((size[0] - side) / 2), round((size[1] - side) / 2)
        cut = chosen[..., top : top + side, left : left + side].round().clamp(0, 255) / 255
        mean, std = (torch.tensor(row).view(3, 1, 1) for row in self.statistics)
        return (cut - mean) / std


PREPARATIONS = {
    "internvid": Preparation(every_step, True, "bilinear", False, IMAGENET),
    "vbench": Preparation(middles, False, "bicubic", False, OPENAI),
    "editverse": Preparation(starts, False, "bicubic", True, OPENAI),
}
"""`internvid` is the demo of the weights' makers, with the statistics that they were trained with; EVE names none."""


def load_tokenizer(folder: Path, context: int) -> Any:
    """The tokenizer of a checkpoint's folder: OpenAI's vocabulary file, or a CLIP tokenizer; ModelError without one."""
    if (folder / VOCABULARY_FILE).is_file():
        return from_vocabulary(folder / VOCABULARY_FILE, context)
    if any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True, model_max_length=context)
    raise ModelError(f"{folder} has no tokenizer: put {VOCABULARY_FILE} or CLIP's tokenizer.json beside the weights.")


def from_vocabulary(path: Path, context: int) -> Any:
    """A CLIP tokenizer from OpenAI's gzipped list of merges."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : MERGES + 1]
    merges = [(first, second) for first, second in (line.split() for line in lines if line)]
    symbols = byte_symbols()
    entries = [
        *symbols,
        *(s + "</w>" for s in symbols),
        *(a + b for a, b in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    table = {entry: number for number, entry in enumerate(entries)}
    return CLIPTokenizer(vocab=table, merges=merges, model_max_length=context)  # pyright: ignore[reportArgumentType]


def byte_symbols() -> list[str]:
    """The 256 characters that stand for bytes in OpenAI's vocabulary, in its order: the printable ones first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(256 - len(printable))]
