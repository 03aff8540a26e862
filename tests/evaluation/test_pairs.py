"""What a path holds as frames."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eve_cli.errors import InputError
from eve_cli.evaluation.pairs import Footage, Pair, unique


def pictures(folder: Path, names: list[str], mode: str = "RGB", size: tuple[int, int] = (6, 4)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        grey = Image.fromarray(np.full((size[1], size[0]), 10 * i, np.uint8))
        grey.convert(mode).save(folder / name)
    return folder


def test_frames_of_a_folder_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "a", ["1.png", "2.png", "10.png"])
    found = Footage.read(folder)
    assert found.frames.shape == (3, 3, 4, 6) and found.fps is None
    assert found.frames[:, 0, 0, 0].tolist() == [0, 10, 20]
    assert len(Footage.read(folder, max_frames=2).frames) == 2


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    assert Footage.read(pictures(tmp_path / mode, ["0.png", "1.png"], mode)).frames.shape == (2, 3, 4, 6)


def test_channels_are_red_green_blue(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (200, 100, 50)).save(tmp_path / "a.png")
    assert Footage.read(tmp_path / "a.png").frames[0, :, 0, 0].tolist() == [200, 100, 50]


def test_pictures_of_different_sizes_are_no_clip(tmp_path: Path) -> None:
    pictures(tmp_path, ["0.png"])
    pictures(tmp_path, ["1.png"], size=(8, 8))
    with pytest.raises(InputError, match="different sizes"):
        Footage.read(tmp_path)


def test_a_missing_clip_and_a_double_id_are_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone"):
        Footage.read(tmp_path / "gone")
    pair = Pair("a", "a", "style", tmp_path, None)
    with pytest.raises(InputError, match="'a'"):
        unique([pair, pair])
