"""Where things and the camera are at a frame, and what can truly be said of their motion over some frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eve_cli.data.world.scene import CAMERAS, MOTIONS, SLOTS, Scene

TAU = 2 * torch.pi
CLIP = range(8)  # the frames that a caption speaks of by default


def reflect(value: Tensor, reach: Tensor | float) -> tuple[Tensor, Tensor]:
    """A straight motion folded into [-reach, reach]; and its direction, 1 or -1."""
    turn = ((value + reach) / (4 * reach)).remainder(1) * 4
    return torch.where(turn < 2, turn - 1, 3 - turn) * reach, torch.where(turn < 2, 1.0, -1.0)


def camera_at(camera: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """The pan (to the right) and the zoom of cameras, given by their numbers in ``CAMERAS``, at frame numbers."""
    pan_way = (camera == 2).float() - (camera == 1).float()
    pan = reflect(-0.12 * pan_way + 0.03 * pan_way * frame, 0.4)[0]
    zoom_way = (camera == 3).float() - (camera == 4).float()
    zoom = 1.1 + reflect(-0.1 * zoom_way + 0.028 * zoom_way * frame, 0.2)[0] * (zoom_way != 0) - 0.1 * (zoom_way == 0)
    return pan, zoom


@dataclass(frozen=True)
class Track:
    """Places, sizes and facing (1 right, -1 left) of things, all of one shape."""

    x: Tensor
    y: Tensor
    size: Tensor
    facing: Tensor


def things_at(motion: Tensor, x: Tensor, y: Tensor, size: Tensor, speed: Tensor, phase: Tensor, frame: Tensor) -> Track:
    """Things that begin at (x, y) and move as ``MOTIONS`` numbers, at frame numbers; all arguments broadcast."""
    is_ = {name: motion == i for i, name in enumerate(MOTIONS)}
    way = torch.where(is_["left"], -1.0, 1.0)
    moved, turned = reflect(x + way * speed * frame, 1.0)  # turned: -1 on the way back
    moving = is_["left"] | is_["right"] | is_["fly"]
    facing = torch.where(moving, way * turned, torch.where(phase < 0.5, 1.0, -1.0))
    x = torch.where(moving, moved, x)
    y = torch.where(is_["fly"], y + 0.12 * torch.sin(TAU * (0.08 * frame + phase)), y)
    y = torch.where(is_["bounce"], y - 0.5 * torch.sin(torch.pi * (speed * frame + phase)).abs(), y)
    grown = size * (1 + 0.22 * torch.sin(TAU * speed * frame))
    y = torch.where(is_["grow"] & (y > 0), y + size - grown, y)
    size = torch.where(is_["grow"], grown, size)
    return Track(x, y, size, facing)


@dataclass(frozen=True)
class VisibleMotion:
    """What holds over all of some frames, empty where nothing does.

    ``motions`` and ``slots``, one a thing, hold names of ``MOTIONS`` and ``SLOTS``; ``camera`` one of ``CAMERAS``.
    """

    motions: tuple[str, ...]
    slots: tuple[str, ...]
    camera: str


def visible_motion(scene: Scene, frames: Sequence[int] = CLIP) -> VisibleMotion:
    """What a clip of a scene shows: a thing that turns round in it moves neither left nor right.

    Things move over the ground; their slots are those of the picture, which the camera shifts.
    """
    frame = torch.tensor(list(frames), dtype=torch.float32).view(-1, 1)
    pan, zoom = camera_at(torch.tensor(CAMERAS.index(scene.camera)), frame)
    values = [(MOTIONS.index(t.motion), t.x, t.y, t.size, t.speed, t.phase) for t in scene.things]
    motion, x, y, size, speed, phase = torch.tensor(values).view(-1, 6).unbind(1)
    track = things_at(motion, x, y, size, speed, phase, frame)
    shown, things = (track.x - pan) * zoom, list(enumerate(scene.things))
    motions = (_motion(t.motion, track.x[:, i], track.size[:, i], track.facing[:, i]) for i, t in things)
    return VisibleMotion(tuple(motions), tuple(_slot(shown[:, i]) for i, _ in things), _camera(pan, zoom))


def _way(values: Tensor) -> int:
    """1 if values rise from each to the next, -1 if they fall, else 0."""
    steps = values.flatten().diff()
    return int(bool(len(steps)) and bool((steps > 0).all())) - int(bool(len(steps)) and bool((steps < 0).all()))


def _motion(name: str, x: Tensor, size: Tensor, facing: Tensor) -> str:
    if name in ("left", "right"):
        way = _way(x)
        return "" if not way or (facing != way).any() else "left" if way < 0 else "right"
    if name == "grow":
        return "grow" if _way(size) > 0 else ""
    return name


def _slot(x: Tensor) -> str:
    near = (x.unsqueeze(1) - torch.tensor(list(SLOTS.values()))).abs().argmin(1)
    return list(SLOTS)[int(near[0])] if (near == near[0]).all() else ""


def _camera(pan: Tensor, zoom: Tensor) -> str:
    if len(pan.unique()) == len(zoom.unique()) == 1:
        return "still"
    names = {(1, 0): "pan right", (-1, 0): "pan left", (0, 1): "zoom in", (0, -1): "zoom out"}
    return names.get((_way(pan), _way(zoom)), "")
