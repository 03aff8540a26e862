"""Small clips, and a metric whose values are easy to know, for the tests of evaluations."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from eve_cli.errors import InputError
from eve_cli.evaluation.metrics.base import Column, EditClip, PixelMetric


class Light(PixelMetric):
    """The mean light of an edit, and how much lighter it is than its source; edits named `bad` cannot be judged."""

    columns = (
        Column("light", "test/light", "levels", 1, "0-255", "how light it is"),
        Column("lighter", "test/lighter", "levels", 1, "", "how much lighter than the source"),
    )
    scored: ClassVar[list[str]] = []

    def score(self, clip: EditClip) -> dict[str, float]:
        assert clip.source is not None
        self.scored.append(clip.pair.id)
        if clip.pair.id == "bad":
            raise InputError("too dark to see.")
        if clip.pair.id == "odd":
            clip.note("it has no source light")
            return {"light": float(clip.edited.float().mean()), "lighter": math.nan}
        return {
            "light": float(clip.edited.float().mean()),
            "lighter": float(clip.edited.float().mean() - clip.source.float().mean()),
        }


class Missing(PixelMetric):
    """A metric whose network is not here."""

    columns = (Column("far", "test/far", "", 1, "", ""),)

    def missing(self) -> str | None:
        return "weights missing. Put them there."


def grey(folder: Path, *levels: int, size: tuple[int, int] = (16, 12)) -> Path:
    """A folder with a grey picture for each level."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, level in enumerate(levels):
        Image.fromarray(np.full((size[1], size[0], 3), level, np.uint8)).save(folder / f"{number}.png")
    return folder


def manifest(folder: Path, *ids: str, methods: tuple[str, ...] = ("edits",), **texts: str) -> Path:
    """Rows of an edit each: sources of light 100, edits of 110, 120, ... (the second method's 5 more)."""
    rows: list[dict[str, Any]] = []
    for method_number, method in enumerate(methods):
        for number, name in enumerate(ids):
            grey(folder / f"s{number // 2}", 100, 100)
            level = 110 + 10 * number + 5 * method_number
            grey(folder / method / str(number), level, level)
            row = {"id": name, "video": f"s{number // 2}", "task": "add" if number % 2 else "style", "method": method}
            rows.append(row | texts | {"source": f"s{number // 2}", "edited": f"{method}/{number}"})
    file = folder / "pairs.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file
