"""A small drawing surface whose drawings become SVG, for pages, and PNG; the same bytes each time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

Anchor = Literal["start", "middle", "end"]
INK, FAINT, PAPER = "#222222", "#d8d8d8", "#ffffff"
COLOURS = ("#3366aa", "#dd8833", "#449966", "#aa4466", "#8866bb", "#777777", "#bbaa22", "#33aabb")
SCALE = 2  # PNG pixels for one unit
PILLOW = {"start": "lm", "middle": "mm", "end": "rm"}


@dataclass
class Canvas:
    """A white surface of width x height units, the origin at the top left."""

    width: float
    height: float
    svg_parts: list[str] = field(default_factory=list)
    strokes: list[Callable[[ImageDraw.ImageDraw], None]] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str = INK, width: float = 1) -> None:
        """A straight line."""
        ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        self.svg_parts.append(f'<line {ends} stroke="{colour}" stroke-width="{width:g}"/>')
        box = [v * SCALE for v in (x1, y1, x2, y2)]
        self.strokes.append(lambda draw: draw.line(box, colour, max(1, round(width * SCALE))))

    def bar(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """A filled rectangle; a negative height reaches up."""
        y, height = min(y, y + height), abs(height)
        self.svg_parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
        )
        box = [v * SCALE for v in (x, y, x + width, y + height)]
        self.strokes.append(lambda draw: draw.rectangle(box, colour))

    def dot(self, x: float, y: float, radius: float, colour: str, title: str = "") -> None:
        """A filled circle; browsers show its title when it is pointed at."""
        told = f"<title>{escape(title)}</title>" if title else ""
        self.svg_parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}">{told}</circle>')
        box = [v * SCALE for v in (x - radius, y - radius, x + radius, y + radius)]
        self.strokes.append(lambda draw: draw.ellipse(box, colour))

    def text(self, x: float, y: float, text: str, anchor: Anchor = "start", size: float = 11) -> None:
        """One line of text, its middle at height y."""
        self.svg_parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" dominant-baseline="central" font-size="{size:g}" '
            f'fill="{INK}">{escape(text)}</text>'
        )
        font = ImageFont.load_default(size * SCALE)
        self.strokes.append(lambda draw: draw.text((x * SCALE, y * SCALE), text, INK, font, PILLOW[anchor]))

    def svg(self) -> str:
        """The drawing as an SVG document."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}" height="{self.height:g}" font-family="sans-serif">'
            f'<rect width="100%" height="100%" fill="{PAPER}"/>{"".join(self.svg_parts)}</svg>\n'
        )

    def save(self, path: Path) -> None:
        """Writes path.svg and path.png; `path` has no ending."""
        path.with_name(path.name + ".svg").write_text(self.svg(), encoding="utf-8")
        image = Image.new("RGB", (round(self.width * SCALE), round(self.height * SCALE)), PAPER)
        draw = ImageDraw.Draw(image)
        for stroke in self.strokes:
            stroke(draw)
        image.save(path.with_name(path.name + ".png"))
