"""Pictures of pictures: rows, strips, grids, PNG files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from eve_cli.media.clip import Frame
from eve_cli.media.compose import grid, paired, save_png, side_by_side, strip


def flat(value: int, height: int = 8, width: int = 12) -> np.ndarray:
    return np.full((3, height, width), value, np.uint8)


def test_side_by_side_scales_to_the_first_height() -> None:
    row = side_by_side([flat(10), flat(200, 16, 24)], gap=2)
    assert row.shape == (3, 8, 26)
    assert (row[:, :, :12] == 10).all() and (row[:, :, 12:14] == 255).all() and (row[:, :, 14:] == 200).all()


def test_paired_clips_keep_the_left_times() -> None:
    left = [Frame(index, Fraction(index, 7), Fraction(1, 7), flat(index)) for index in range(3)]
    joined = list(paired(left, left[:2]))
    assert [frame.pts for frame in joined] == [0, Fraction(1, 7)]
    assert joined[1].rgb.shape == (3, 8, 24)


def test_strip_takes_first_and_last() -> None:
    row = strip([flat(value) for value in range(100)], count=3, gap=0)
    assert [row[0, 0, at] for at in (0, 12, 24)] == [0, 50, 99]


def test_grid_and_png(tmp_path: Path) -> None:
    picture = grid([[flat(1), flat(2)], [flat(3)]], gap=1)
    assert picture.shape == (3, 17, 25) and (picture[:, 9:, 13:] == 255).all()
    save_png(picture, tmp_path / "grid.png")
    assert (np.asarray(Image.open(tmp_path / "grid.png")).transpose(2, 0, 1) == picture).all()
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]
