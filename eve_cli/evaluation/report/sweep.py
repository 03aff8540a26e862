"""The page of a sweep: one HTML file with all its videos in it, side by side on one clock, each with its command."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from html import escape
from pathlib import Path

from eve_cli.editing.run_dir import write_atomically
from eve_cli.evaluation.report.page import as_script, boxes, filled
from eve_cli.media.clip import Picture


@dataclass(frozen=True)
class Shown:
    """A cell: what it is called, its video as an address, and the command that makes it."""

    label: str
    src: str
    command: str


def write(
    path: Path, title: str, facts: str, notes: Sequence[str], source: str, cells: Sequence[Shown], columns: int
) -> Path:
    """Writes the page, `columns` cells wide; `source` is the address of the source's video."""
    data = {"source": source, "columns": columns, "cells": [asdict(cell) for cell in cells]}
    parts = {
        "title": escape(title),
        "facts": escape(facts),
        "notes": boxes(notes, "box"),
        "data": as_script(data),
    }
    write_atomically(path, filled("sweep.html", parts).encode())
    return path


def address(pictures: Iterable[Picture], fps: float) -> str:
    """A video of pictures (3, height, width) as an address that holds it whole."""
    from eve_cli.media.encode import VideoWriter

    with tempfile.TemporaryDirectory(prefix="eve-") as folder:
        file = Path(folder) / "clip.mp4"
        duration = 1 / Fraction(fps).limit_denominator(100_000)
        with VideoWriter(file, fps=fps, crf=20, audio="none") as writer:
            for number, picture in enumerate(pictures):
                writer.write(picture, number * duration, duration)
        return "data:video/mp4;base64," + base64.b64encode(file.read_bytes()).decode()
