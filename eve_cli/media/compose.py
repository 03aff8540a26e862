"""Pictures made of pictures: two clips side by side, strips and grids as PNG."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from eve_cli.media.clip import Frame, Picture
from eve_cli.storage.atomic import atomic_file

GAP = 8
BACKGROUND = 255


def resized(rgb: Picture, width: int, height: int) -> Picture:
    """Scale (3, height, width) smoothly."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0)))
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)).transpose(2, 0, 1)


def side_by_side(pictures: Sequence[Picture], gap: int = 0) -> Picture:
    """Put pictures (3, height, width) in a row, each scaled to the first one's height."""
    height = pictures[0].shape[1]
    row: list[Picture] = []
    for rgb in pictures:
        if rgb.shape[1] != height:
            rgb = resized(rgb, max(1, round(rgb.shape[2] * height / rgb.shape[1])), height)
        row += [rgb, np.full((3, height, gap), BACKGROUND, np.uint8)]
    return np.concatenate(row[:-1], axis=2)


def paired(first: Iterable[Frame], second: Iterable[Frame], gap: int = 0) -> Iterator[Frame]:
    """Join two clips frame by frame, at the left one's times, until the shorter one ends."""
    for a, b in zip(first, second, strict=False):
        yield Frame(a.index, a.pts, a.duration, side_by_side([a.rgb, b.rgb], gap), source=a.source)


def strip(pictures: Sequence[Picture], count: int = 6, gap: int = GAP) -> Picture:
    """Pick `count` pictures spread evenly over a clip and put them in a row."""
    indices = np.linspace(0, len(pictures) - 1, min(count, len(pictures))).round().astype(int)
    return side_by_side([pictures[index] for index in indices], gap)


def grid(rows: Sequence[Sequence[Picture]], gap: int = GAP) -> Picture:
    """Put rows of pictures below each other; short rows are filled with white."""
    bands = [side_by_side(row, gap) for row in rows]
    width = max(band.shape[2] for band in bands)
    stacked: list[Picture] = []
    for band in bands:
        padded = np.full((3, band.shape[1], width), BACKGROUND, np.uint8)
        padded[:, :, : band.shape[2]] = band
        stacked += [padded, np.full((3, gap, width), BACKGROUND, np.uint8)]
    return np.concatenate(stacked[:-1], axis=1)


def save_png(rgb: Picture, path: str | os.PathLike[str]) -> None:
    """Save (3, height, width) as a PNG file, complete or not at all."""
    from PIL import Image

    with atomic_file(path) as part:
        Image.fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0))).save(part, format="PNG")


INK, SOFT, LINE = (29, 33, 38), (104, 113, 124), 18


def contact_sheet(
    title: str,
    columns: Sequence[tuple[str, int]],
    rows: Sequence[tuple[str, Sequence[Picture]]],
    notes: Sequence[str] = (),
    height: int = 144,
) -> Picture:
    """Rows of pictures (3, height, width) with their names at the left, all shown `height` high.

    `columns` are names that stand above so many pictures each; `notes` are lines at the bottom.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(13)
    first = rows[0][1][0]
    size = (max(1, round(first.shape[2] * height / first.shape[1])), height)
    wide, tall = size[0] + GAP, height + GAP
    left = GAP * 2 + round(max(font.getlength(name) for name, _ in rows))
    top = GAP + 2 * LINE + GAP
    texts = [title, *notes]
    width = max(left + wide * len(rows[0][1]) + GAP, round(max(map(font.getlength, texts))) + 2 * GAP)
    sheet = Image.new("RGB", (width, top + tall * len(rows) + LINE * len(notes) + GAP), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, INK, font)
    x = left
    for name, count in columns:
        draw.text((x, GAP + LINE), name, SOFT, font)
        x += wide * count
    for number, (name, _) in enumerate(rows):
        y = top + tall * number
        draw.text((GAP, y + height / 2 - LINE / 2), name, INK, font)
        for place, picture in enumerate(rows[number][1]):
            small = np.ascontiguousarray(resized(picture, *size).transpose(1, 2, 0))
            sheet.paste(Image.fromarray(small), (left + wide * place, y))
    for number, note in enumerate(notes):
        draw.text((GAP, top + tall * len(rows) + LINE * number), note, SOFT, font)
    return np.asarray(sheet).transpose(2, 0, 1)
