"""A contact sheet of what a training would see."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw
from torch import Tensor

from eve_cli.data.batches import Source
from eve_cli.data.inputs import FileInputs
from eve_cli.errors import OutputError

Draws = Literal["pictures", "pairs", "clips"]
CELL = 128
LINE = 12
COLUMNS = 8


def sheet(source: Source, draws: Draws, count: int, side: int, seed: int = 0, length: int = 4) -> Image.Image:
    """Draws with their texts below: single pictures, pairs (before, after), or clips (`length` frames in a row)."""
    if draws == "pictures":
        drawn = source.pictures(seed, count, side)
        return _sheet([[frame] for frame in drawn.frames], drawn.texts)
    if draws == "pairs":
        pairs = source.pairs(seed, count, side)
        texts = [f"[{task}] {text}" for task, text in zip(pairs.tasks, pairs.instructions, strict=True)]
        return _sheet([[b[0], a[0]] for b, a in zip(pairs.source, pairs.edited, strict=True)], texts)
    clips = source.clips(seed, count, length, side)
    return _sheet([list(clip) for clip in clips.frames], clips.texts)


def inputs_sheet(inputs: FileInputs, count: int, side: int, length: int = 4) -> Image.Image:
    """The first inputs of an alignment: `length` frames of each clip in a row, with task, instruction and caption."""
    points = inputs.points(range(min(count, len(inputs.rows))), length, side)
    texts = [
        f"[{task}] {instruction} > {caption}"
        for task, instruction, caption in zip(points.tasks, points.instructions, points.captions, strict=True)
    ]
    return _sheet([list(clip) for clip in points.frames], texts)


def save(image: Image.Image, path: Path) -> None:
    """Writes the sheet; the ending of the name says in which form. OutputError if it cannot be."""
    try:
        image.save(path)
    except (OSError, ValueError) as error:
        raise OutputError(f"Cannot write {path}: {error}.") from error


def _sheet(rows: list[list[Tensor]], texts: list[str]) -> Image.Image:
    across = max(1, COLUMNS // len(rows[0]))
    width, height = CELL * len(rows[0]) + 8, CELL + 3 * LINE
    image = Image.new("RGB", (across * width, -(-len(rows) // across) * height), "white")
    pen = ImageDraw.Draw(image)
    for number, (frames, text) in enumerate(zip(rows, texts, strict=True)):
        left, top = number % across * width, number // across * height
        for place, frame in enumerate(frames):
            image.paste(_image(frame), (left + CELL * place, top))
        for line, words in enumerate(textwrap.wrap(text, CELL * len(frames) // 6)[:2]):
            pen.text((left + 2, top + CELL + LINE * line), words, fill="black")
    return image


def _image(frame: Tensor) -> Image.Image:
    pixels = (frame.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels).resize((CELL, CELL), Image.Resampling.NEAREST)
