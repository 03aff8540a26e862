"""Whether a clip shows the requested edit: all possible results are rendered, and the closest one is taken."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from eve_cli.data.looks import LOOKS
from eve_cli.data.world.actions import possible
from eve_cli.data.world.edits import MOTION, WorldEdit
from eve_cli.data.world.render import render
from eve_cli.data.world.scene import Scene
from eve_cli.data.world.variants import ATTRIBUTES, TASK_ATTRIBUTES

SPEEDS = {
    "still": (0.0,),
    "left": (0.02, 0.035, 0.05, 0.065),
    "right": (0.02, 0.035, 0.05, 0.065),
    "fly": (0.03, 0.045, 0.06),
    "bounce": (0.05, 0.07, 0.09),
    "grow": (0.02, 0.03, 0.04),
}
PHASES = {"bounce": (0.0, 0.25, 0.5, 0.75), "fly": (0.0, 0.25, 0.5, 0.75), "still": (0.25, 0.75)}
SHIFTS = (-0.15, 0.0, 0.15)
MIN_DEVIATION = 0.02  # standard deviation over the candidates of a pixel that differs


@dataclass(frozen=True)
class Candidates:
    """Possible results of an edit, as clips (n, frames, 3, side, side); several may share a name. `target` is right."""

    names: Sequence[str]
    clips: Tensor
    target: str

    def closest(self, clip: Tensor) -> str:
        """The name of the candidate closest to a clip (frames, 3, side, side) where candidates differ."""
        differ = self.clips.std(0).amax(-3, keepdim=True) > MIN_DEVIATION
        errors = ((self.clips - clip).square() * differ).flatten(1).sum(1)
        return self.names[int(errors.argmin())]

    def shows_target(self, clip: Tensor) -> bool:
        """Whether the closest candidate is the target."""
        return self.closest(clip) == self.target


def candidates(edit: WorldEdit, frames: Sequence[int] = range(8), side: int = 64) -> Candidates:
    """The possible results of an edit of one of the seven training tasks, or of motion."""
    scenes = _motions(edit) if edit.task == MOTION else _values(edit)
    clips = render([scene for _, scene, _ in scenes], list(frames), side).frames
    for row, (_, scene, look) in enumerate(scenes):
        if look:
            clips[row] = LOOKS[look].function(clips[row], scene.seed, frames[0])
    target = next(name for name, scene, look in scenes if (scene, look) == (edit.target, edit.look))
    return Candidates([name for name, _, _ in scenes], clips, target)


NamedScenes = Sequence[tuple[str, Scene, str | None]]


def _motions(edit: WorldEdit) -> NamedScenes:
    """Every motion of the subject, at several speeds, phases and start positions."""
    assert edit.subject is not None
    index = edit.subject
    thing = edit.target.things[index]
    variants = [
        (motion, edit.target.with_thing(index, motion=motion, speed=speed, phase=phase, x=thing.x + shift), None)
        for motion in ("still", *possible(thing.kind))
        for speed in SPEEDS[motion]
        for phase in PHASES.get(motion, (thing.phase,))
        for shift in SHIFTS
    ]
    return [(thing.motion, edit.target, None), *variants]


def _values(edit: WorldEdit) -> NamedScenes:
    """Every value of the changed attribute, including the source's."""
    for attribute in TASK_ATTRIBUTES[edit.task]:
        index = 0 if edit.subject is None else edit.subject
        variants = ATTRIBUTES[attribute](edit.source if edit.task == "remove" else edit.target, index, random.Random(0))
        if {(edit.source, None), (edit.target, edit.look)} <= set(variants):
            return [(str(number), scene, look) for number, (scene, look) in enumerate(variants)]
    return [("before", edit.source, None), ("after", edit.target, edit.look)]
