"""Pictures of edits: the source, the result of each row of a table, and the true edit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from eve_cli.data.world.edits import render_edit

if TYPE_CHECKING:
    from eve_cli.evaluation.alignment_table import HeldOutEdits

STRIDE, GAP, SCALE = 2, 2, 2  # every second frame; pixels between; integer enlargement


def write(folder: Path, held_out: HeldOutEdits, outputs: Mapping[str, Tensor], count: int) -> list[Path]:
    """One picture for each of the first `count` edits: source, outputs in order, truth; frames from left to right.

    A text file beside it lists the instruction and the rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    edits = held_out.edits()[:count]
    rendered = render_edit(edits, held_out.frames, held_out.side)
    files = []
    for i, edit in enumerate(edits):
        rows = {
            "source": rendered.source[i],
            **{name: clips[i] for name, clips in outputs.items()},
            "truth": rendered.edited[i],
        }
        file = folder / f"{i:03d}-{edit.task}.png"
        save(file, list(rows.values()))
        file.with_suffix(".txt").write_text("\n".join([edit.instruction, *rows]) + "\n", encoding="utf-8")
        files.append(file)
    return files


def save(file: Path, rows: list[Tensor]) -> None:
    """Clips (frames, 3, h, w) in [0, 1] above each other, as a PNG."""
    wide = []
    for clip in rows:
        frames = clip[::STRIDE].clamp(0, 1)
        wide.append(torch.cat([torch.nn.functional.pad(f, (0, GAP, 0, GAP), value=1.0) for f in frames], 2))
    picture = torch.cat(wide, 1)[:, :-GAP, :-GAP]
    image = Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
    image.resize((image.width * SCALE, image.height * SCALE), Image.Resampling.NEAREST).save(file)
