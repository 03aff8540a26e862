"""Draws docs/pictures/world.png: what the procedural world can show, and each kind of edit with its true answer.

Run it with `make gallery`.
"""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from eve_cli.data.looks import LOOKS
from eve_cli.data.world.edits import ALIGNED_TASKS, UNSEEN_TASKS, render_edit, sample_edit
from eve_cli.data.world.render import render
from eve_cli.data.world.scene import (
    COLOURS,
    FLYING,
    HELD_OUT_THINGS,
    KINDS,
    PLACES,
    TEXTURES,
    TIMES,
    WEATHERS,
    Scene,
    Thing,
    sample_scene,
)

TARGET = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "world.png"
CELL, GAP, LINE, MARGIN, COLUMNS = 112, 4, 14, 16, 12
WIDTH = 2 * MARGIN + COLUMNS * (CELL + GAP) - GAP
INK, PAPER = (30, 32, 38), (255, 255, 255)
ORDER = (*ALIGNED_TASKS, *UNSEEN_TASKS)


class Page:
    """A white page that is filled from the top."""

    def __init__(self) -> None:
        self.image = Image.new("RGB", (WIDTH, 8000), PAPER)
        self.pen = ImageDraw.Draw(self.image)
        self.top = MARGIN

    def heading(self, text: str) -> None:
        """A line above a section."""
        self.pen.text((MARGIN, self.top), text, INK, ImageFont.load_default(17))
        self.top += 26

    def cell(self, column: float, frame: Tensor, text: str = "", span: float = 1) -> None:
        """A picture (3, height, width) in a column of the present row, with words below over ``span`` columns."""
        left = MARGIN + round(column * (CELL + GAP))
        pixels = (frame.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        self.image.paste(Image.fromarray(pixels), (left, self.top))
        for number, line in enumerate(textwrap.wrap(text, round(span * 18))[:2]):
            self.pen.text((left, self.top + CELL + 2 + number * LINE), line, INK, ImageFont.load_default(11))

    def row(self, lines: int = 0) -> None:
        """Goes to the next row, below so many lines of words."""
        self.top += CELL + GAP + lines * LINE + (6 if lines else 0)

    def cut(self) -> Image.Image:
        """The page as far as it is filled."""
        return self.image.crop((0, 0, WIDTH, self.top + MARGIN - GAP))


def thing(number: int, texture: str = "plain", kind: str | None = None, size: float = 0.42) -> Thing:
    """A thing in the middle, its colour following its number."""
    kind = kind or KINDS[number % len(KINDS)]
    colours = [c for c in COLOURS if (kind, c) not in HELD_OUT_THINGS]
    height = -0.35 if kind in FLYING else 0.7 - size
    return Thing(kind, colours[number % len(colours)], texture, y=height, size=size)


def places(page: Page) -> None:
    """Every place at every time in every weather."""
    page.heading("Places by day, at sunset and at night; in clear weather, snow, rain and fog")
    for row, place in enumerate(PLACES):
        scenes = [
            Scene(place, time, weather, (thing(row * 5 + i, size=0.36),), seed=40 + row)
            for i, (time, weather) in enumerate((t, w) for t in TIMES for w in WEATHERS)
        ]
        for column, frame in enumerate(render(scenes, [3], CELL).frames[:, 0]):
            page.cell(column, frame)
        page.row()


def things(page: Page) -> None:
    """Every thing in every texture, on the left; things in motion, on the right."""
    page.top += 10
    page.heading("Things: plain, striped, spotted, checkered; and how they move")
    moving = [s for s in map(sample_scene, range(800)) if s.weather == "clear" and len(s.things) == 1]
    motions = (("car", "right"), ("ball", "bounce"), ("bird", "fly"), ("tree", "grow"))
    for row, texture in enumerate(TEXTURES):
        scenes = [
            Scene("meadow", "day", "clear", (thing(i + 2 * row, texture, kind),), seed=3)
            for i, kind in enumerate(KINDS)
        ]
        for column, frame in enumerate(render(scenes, [0], CELL).frames[:, 0]):
            page.cell(column, frame)
        scene = next(s for s in moving if (s.things[0].kind, s.things[0].motion) == motions[row])
        for column, frame in enumerate(render([scene], [0, 4, 8, 12], CELL).frames[0]):
            page.cell(8 + column, frame)
        page.row()


def edits(page: Page, each: int = 2, across: int = 6) -> None:
    """Sources and true edits of every task, with the instructions."""
    page.top += 10
    page.heading("Edits with their true answer (the last four kinds are never seen by the alignment)")
    tasks = [task for task in ORDER for _ in range(each)]
    tasks += ["global"] * (-len(tasks) % across)
    examples = [sample_edit(50 + number, task) for number, task in enumerate(sorted(tasks, key=ORDER.index))]
    for start in range(0, len(examples), across):
        some = examples[start : start + across]
        rendered = render_edit(some, [4], CELL)
        for i, edit in enumerate(some):
            column = i * COLUMNS / across
            page.cell(column, rendered.source[i, 0], f"{edit.task}: {edit.instruction}", 2)
            page.cell(column + CELL / (CELL + GAP), rendered.edited[i, 0])
        page.row(2)


def looks(page: Page) -> None:
    """One frame under every look."""
    page.top += 10
    page.heading("Looks, which can be given to any clip")
    scene = replace(sample_scene(12), place="city", time="day", weather="clear")
    frames = render([scene], [0, 1], CELL).frames[0]
    for number, (name, look) in enumerate(LOOKS.items()):
        page.cell(number % COLUMNS, look.function(frames, 3, 0)[1], name)
        if number % COLUMNS == COLUMNS - 1 or number == len(LOOKS) - 1:
            page.row(1)


def main() -> None:
    page = Page()
    for section in (places, things, edits, looks):
        section(page)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    page.cut().save(TARGET, optimize=True)
    print(TARGET)


if __name__ == "__main__":
    main()
