"""Whether a clip shows what was asked for, told by drawing every answer that there could be and taking the closest."""

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
VARIES = 0.02


@dataclass(frozen=True)
class Drawings:
    """Answers to an edit by name, as clips (n, frames, 3, side, side); several may share a name. `asked` is right."""

    names: Sequence[str]
    clips: Tensor
    asked: str

    def closest(self, clip: Tensor) -> str:
        """The answer that a clip (frames, 3, side, side) shows; what the answers have in common counts for nothing."""
        differ = self.clips.std(0).amax(-3, keepdim=True) > VARIES
        errors = ((self.clips - clip).square() * differ).flatten(1).sum(1)
        return self.names[int(errors.argmin())]

    def right(self, clip: Tensor) -> bool:
        """Whether that is the one that was asked for."""
        return self.closest(clip) == self.asked


def draw(edit: WorldEdit, frames: Sequence[int] = range(8), side: int = 64) -> Drawings:
    """The answers to an edit of one of the seven tasks of training, or of motion."""
    found = _motions(edit) if edit.task == MOTION else _values(edit)
    clips = render([scene for _, scene, _ in found], list(frames), side).frames
    for row, (_, scene, look) in enumerate(found):
        if look:
            clips[row] = LOOKS[look].function(clips[row], scene.seed, frames[0])
    right = next(name for name, scene, look in found if (scene, look) == (edit.target, edit.look))
    return Drawings([name for name, _, _ in found], clips, right)


Answers = Sequence[tuple[str, Scene, str | None]]


def _motions(edit: WorldEdit) -> Answers:
    """Every way that the subject could move, at several speeds and phases and from places a little apart."""
    assert edit.subject is not None
    index = edit.subject
    thing = edit.target.things[index]
    others = [
        (motion, edit.target.with_thing(index, motion=motion, speed=speed, phase=phase, x=thing.x + shift), None)
        for motion in ("still", *possible(thing.kind))
        for speed in SPEEDS[motion]
        for phase in PHASES.get(motion, (thing.phase,))
        for shift in SHIFTS
    ]
    return [(thing.motion, edit.target, None), *others]


def _values(edit: WorldEdit) -> Answers:
    """Every value that what was changed could have, the source's among them."""
    for attribute in TASK_ATTRIBUTES[edit.task]:
        index = 0 if edit.subject is None else edit.subject
        made = ATTRIBUTES[attribute](edit.source if edit.task == "remove" else edit.target, index, random.Random(0))
        if {(edit.source, None), (edit.target, edit.look)} <= set(made):
            return [(str(number), scene, look) for number, (scene, look) in enumerate(made)]
    return [("before", edit.source, None), ("after", edit.target, edit.look)]
