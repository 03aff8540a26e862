"""A camera that moves over one picture: a smooth sequence of perspective transforms (Molad et al. 2023, section 5)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from eve_cli.errors import InputError

FOCAL = 2.0
"""Focal length in units of half the picture's height."""


@dataclass(frozen=True)
class View:
    """Where the camera looks: `zoom` 1 sees the picture as it is; `x` and `y` move it right and down, in shares of the
    picture's width and height; `roll`, `yaw` and `pitch` turn it, in degrees: clockwise, right and up."""

    zoom: float = 1.0
    x: float = 0.0
    y: float = 0.0
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0


VIEWS: dict[str, View] = {
    "still": View(),
    "zoom-in": View(zoom=1.3),
    "zoom-out": View(zoom=1 / 1.3),
    "pan-left": View(x=-0.15),
    "pan-right": View(x=0.15),
    "tilt-up": View(y=-0.15),
    "tilt-down": View(y=0.15),
    "orbit-left": View(x=0.1, yaw=-12.0),
    "orbit-right": View(x=-0.1, yaw=12.0),
}
"""The last view of each camera path; all begin with the full picture."""


def path(camera: str) -> list[View]:
    """The views that a camera passes; InputError for a file that does not list any."""
    if camera in VIEWS:
        return [View(), VIEWS[camera]]
    try:
        rows = json.loads(Path(camera).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{camera}: cannot be read ({(error.strerror or str(error)).lower()}).") from None
    except ValueError as error:
        raise InputError(f"{camera}: is not JSON ({error}).") from None
    if not isinstance(rows, list) or not rows:
        raise InputError(f'{camera}: needs a list of views, like [{{}}, {{"zoom": 1.3, "x": 0.1}}].')
    return [_view(row, f"{camera}, view {number}") for number, row in enumerate(rows, 1)]


def glide(views: Sequence[View], frames: int) -> list[View]:
    """The view of every frame: at rest at the first and the last, past the others in even times, without a jerk."""
    keys = torch.tensor([[float(getattr(view, item.name)) for item in fields(View)] for view in views])
    at = torch.linspace(0, len(keys) - 1, frames, dtype=torch.float64)
    low = at.long().clamp(max=max(len(keys) - 2, 0))
    share = (at - low).float()
    smooth = share.square() * (3 - 2 * share)
    values = torch.lerp(keys[low], keys[(low + 1).clamp(max=len(keys) - 1)], smooth[:, None])
    return [View(*row.tolist()) for row in values]


def transform(view: View, aspect: float = 1.0) -> Tensor:
    """The perspective transform (3, 3) from places in the frame to places in the picture, both in [-1, 1].

    `aspect` is the picture's width by its height.
    """
    roll, yaw, pitch = (math.radians(angle) for angle in (view.roll, view.yaw, view.pitch))
    rotation = _turn(1, 0, roll) @ _turn(0, 2, yaw) @ _turn(1, 2, -pitch)
    lens, wide = (torch.diag(torch.tensor(row)) for row in ((FOCAL, FOCAL, 1.0), (aspect, 1.0, 1.0)))
    moved = torch.tensor([[1.0, 0.0, 2 * view.x], [0.0, 1.0, 2 * view.y], [0.0, 0.0, 1.0]])
    zoom = torch.diag(torch.tensor([1 / view.zoom, 1 / view.zoom, 1.0]))
    return moved @ wide.inverse() @ lens @ rotation @ lens.inverse() @ zoom @ wide


def shot(picture: Tensor, views: Sequence[View], frames: int) -> Iterator[Tensor]:
    """The frames (3, height, width) of a picture (3, height, width), mirrored beyond its edges."""
    height, width = picture.shape[-2:]
    y, x = ((torch.arange(n) * 2 + 1) / n - 1 for n in (height, width))
    points = torch.stack([x.expand(height, width), y[:, None].expand(height, width), torch.ones(height, width)], -1)
    for view in glide(views, frames):
        if view == View():
            yield picture
            continue
        projected = points @ transform(view, width / height).T
        grid = (projected[..., :2] / projected[..., 2:])[None]
        yield functional.grid_sample(picture[None], grid, padding_mode="reflection", align_corners=False)[0]


def _view(row: object, where: str) -> View:
    names = [item.name for item in fields(View)]
    if not isinstance(row, Mapping) or not all(
        key in names and isinstance(value, int | float) and math.isfinite(value) for key, value in row.items()
    ):
        raise InputError(f"{where}: holds more than numbers for {', '.join(names)}.")
    view = View(**{str(key): float(value) for key, value in row.items()})
    if view.zoom <= 0 or max(abs(view.yaw), abs(view.pitch)) > 45:
        raise InputError(f"{where}: zoom must be above 0, and yaw and pitch within 45 degrees.")
    return view


def _turn(first: int, second: int, angle: float) -> Tensor:
    """A turn of `first` towards `second`."""
    rotation = torch.eye(3)
    rotation[first, first] = rotation[second, second] = math.cos(angle)
    rotation[first, second], rotation[second, first] = math.sin(angle), -math.sin(angle)
    return rotation
