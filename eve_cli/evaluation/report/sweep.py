"""The page of a sweep: one HTML file with all its videos, side by side and in sync, each with its command."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from eve_cli.evaluation.report.page import PACKAGE
from eve_cli.evaluation.report.templates import render, resource, script_json
from eve_cli.media.clip import Picture
from eve_cli.storage.atomic import write_text


@dataclass(frozen=True)
class SweepCell:
    """One video of a sweep: its label, its data URL, and the command that makes it."""

    label: str
    src: str
    command: str


def write(
    path: Path, title: str, facts: str, notes: Sequence[str], source: str, cells: Sequence[SweepCell], columns: int
) -> Path:
    """Writes the page, `columns` cells wide; `source` is the data URL of the source's video."""
    data = {"source": source, "columns": columns, "cells": [asdict(cell) for cell in cells]}
    text = render(
        PACKAGE,
        "sweep.html",
        style=resource(PACKAGE, "page.css"),
        clock=resource(PACKAGE, "clock.js"),
        title=title,
        facts=facts,
        notes=notes,
        data=script_json(data),
    )
    write_text(path, text)
    return path


def data_url(pictures: Iterable[Picture], fps: float) -> str:
    """A data URL with a video of pictures (3, height, width)."""
    from eve_cli.media.encode import VideoWriter

    with tempfile.TemporaryDirectory(prefix="eve-") as folder:
        file = Path(folder) / "clip.mp4"
        duration = 1 / Fraction(fps).limit_denominator(100_000)
        with VideoWriter(file, fps=fps, crf=20, audio="none") as writer:
            for number, picture in enumerate(pictures):
                writer.write(picture, number * duration, duration)
        return "data:video/mp4;base64," + base64.b64encode(file.read_bytes()).decode()
