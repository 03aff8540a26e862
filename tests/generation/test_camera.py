"""A camera over one picture: where it looks, that it glides, and what lies beyond the edges."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from eve_cli.errors import InputError
from eve_cli.generation.camera import VIEWS, View, glide, path, shot, transform


def ramps(height: int = 32, width: int = 48) -> Tensor:
    """A picture (3, height, width) whose first two colours are the places x and y in [-1, 1], as shares."""
    y, x = ((torch.arange(n) * 2 + 1) / n - 1 for n in (height, width))
    return (
        torch.stack([x.expand(height, width), y[:, None].expand(height, width), torch.zeros(height, width)]) / 2 + 0.5
    )


def middle(frame: Tensor) -> tuple[float, float]:
    """The place (x, y) of the picture that the middle of a frame of `ramps` shows."""
    height, width = frame.shape[-2:]
    part = frame[:2, height // 2 - 1 : height // 2 + 1, width // 2 - 1 : width // 2 + 1].mean((1, 2)) * 2 - 1
    return float(part[0]), float(part[1])


@pytest.mark.parametrize("camera", VIEWS)
def test_every_camera_begins_with_the_picture_itself(camera: str) -> None:
    picture = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))
    frames = list(shot(picture, path(camera), 16))
    assert len(frames) == 16 and torch.equal(frames[0], picture)
    assert all(torch.equal(frame, picture) for frame in frames) == (camera == "still")


@pytest.mark.parametrize(
    ("view", "place"),
    [
        (View(x=0.15), (0.3, 0.0)),
        (View(y=-0.15), (0.0, -0.3)),
        (View(zoom=1.5), (0.0, 0.0)),
        (View(yaw=10), (2.0 * 0.17633 / 1.5, 0.0)),
        (View(pitch=10), (0.0, -2.0 * 0.17633)),
    ],
)
def test_the_middle_of_the_last_frame_is_where_the_camera_looks(view: View, place: tuple[float, float]) -> None:
    *_, last = shot(ramps(), [View(), view], 5)
    assert middle(last) == pytest.approx(place, abs=0.02)


def test_zoom_enlarges_and_roll_turns_clockwise() -> None:
    *_, near = shot(ramps(), [View(), View(zoom=1.5)], 3)
    torch.testing.assert_close(near[:2] - 0.5, (ramps()[:2] - 0.5) / 1.5, atol=0.01, rtol=0)
    right = transform(View(roll=90)) @ torch.tensor([1.0, 0.0, 1.0])
    torch.testing.assert_close(right[:2] / right[2], torch.tensor([0.0, 1.0]), atol=1e-5, rtol=0)


def test_lines_stay_straight_and_the_far_side_shrinks_when_the_camera_turns() -> None:
    turned = transform(View(yaw=20))
    places = [turned @ torch.tensor([x, y, 1.0]) for x, y in ((-1.0, -0.5), (0.0, -0.5), (1.0, -0.5), (-1.0, 0.5))]
    left, between, right, below = (p[:2] / p[2] for p in places)
    along = (right - left) / (right - left).norm()
    assert abs(float(torch.linalg.det(torch.stack([along, between - left])))) < 1e-5
    assert float((below - left).norm()) != pytest.approx(1.0, abs=0.01)


def test_beyond_the_edges_the_picture_is_mirrored() -> None:
    flat = torch.full((3, 16, 24), 0.7)
    for camera in VIEWS:
        assert all(torch.allclose(frame, flat, atol=1e-5) for frame in shot(flat, path(camera), 4))
    *_, last = shot(ramps(), [View(), View(x=0.5)], 2)
    across = last[0, 10]
    torch.testing.assert_close(across[24:], across[:24].flip(0), atol=0.03, rtol=0)


def test_the_camera_rests_at_both_ends_and_passes_every_view() -> None:
    steps = torch.tensor([view.x for view in glide([View(), View(x=0.3)], 16)]).diff()
    assert steps.argmax() in (7, 6, 8) and (steps > 0).all() and steps[0] < steps[7] / 4 > steps[-1]
    passed = glide([View(), View(zoom=2.0), View(roll=30)], 9)
    assert passed[4] == View(zoom=2.0) and passed[8] == View(roll=30)
    assert len({view for view in glide([View(y=0.2)], 3)}) == 1


def test_a_file_lists_views(tmp_path: Path) -> None:
    file = tmp_path / "path.json"
    file.write_text(json.dumps([{}, {"zoom": 1.2, "x": -0.1}]))
    assert path(str(file)) == [View(), View(zoom=1.2, x=-0.1)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[", "is not JSON"),
        ("{}", "needs a list of views"),
        ("[]", "needs a list of views"),
        ('[{"zom": 2}]', "view 1: holds more than numbers for zoom"),
        ('[{}, {"zoom": 0}]', "view 2: zoom must be above 0"),
        ('[{"yaw": 80}]', "within 45 degrees"),
        ('[{"x": "far"}]', "holds more than numbers"),
    ],
)
def test_a_bad_file_is_one_sentence(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "path.json").write_text(text)
    with pytest.raises(InputError, match=told):
        path(str(tmp_path / "path.json"))
    with pytest.raises(InputError, match="cannot be read"):
        path(str(tmp_path / "none.json"))
