"""Edits of the world whose right answer is known."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from eve_cli.data.looks import LOOKS, world_styles
from eve_cli.data.sample import changed_region
from eve_cli.data.world import language as say
from eve_cli.data.world.actions import sample_action
from eve_cli.data.world.render import Rendering, render
from eve_cli.data.world.scene import (
    COLOURS,
    FLYING,
    KINDS,
    PLACES,
    SLOTS,
    TEXTURES,
    TIMES,
    WEATHERS,
    Scene,
    is_held_out,
    place_thing,
    sample_scene,
    sample_thing,
    standing_height,
)

ALIGNED_TASKS = ("add", "remove", "background", "texture", "local", "style", "global")
UNSEEN_TASKS = ("segment", "sketch", "depth", "mark")
MOTION = "motion"  # no task of training: the edit adapter has no label for it, and a single frame does not show it


@dataclass(frozen=True)
class WorldEdit:
    """A scene, an instruction and the scene (or the look, or the map) that it asks for.

    ``subject`` numbers the thing it is about: in ``target`` for add, else in ``source``. ``look`` names a row of
    ``LOOKS``.
    """

    task: str
    instruction: str
    source: Scene
    target: Scene
    source_caption: str
    caption: str
    subject: int | None = None
    look: str | None = None


@dataclass(frozen=True)
class RenderedEdit:
    """What edits look like: ``source`` and ``edited`` (edits, frames, 3, height, width); ``changed``, the same without
    channels, is 1 where the edit changes the picture; ``before`` and ``after`` hold the renderings' truth."""

    source: Tensor
    edited: Tensor
    changed: Tensor
    before: Rendering
    after: Rendering


def sample_edit(
    seed: int,
    task: str | None = None,
    held_out: bool | None = False,
    motion: bool = False,
    frames: Sequence[int] | None = None,
) -> WorldEdit:
    """A random edit, of a task or of any of the seven; ``held_out`` as in ``sample_scene``, for source and target.

    ``motion`` and ``frames`` are the captions': what they tell of, and the frame numbers over which that holds. Edits
    of motion hold over these frames too, and their captions always tell of it.
    """
    rng = random.Random(f"edit {seed}")
    for attempt in range(1000):
        chosen_task = task or rng.choice(ALIGNED_TASKS)
        scene = sample_scene(seed * 1000 + attempt, held_out=None if held_out else held_out)
        edit = edit_scene(rng, scene, chosen_task, motion, frames)
        if edit and (held_out is None or held_out == (is_held_out(edit.source) or is_held_out(edit.target))):
            return edit
    raise RuntimeError(f"no edit of task {task!r} found for seed {seed}")


def edit_scene(
    rng: random.Random, scene: Scene, task: str, motion: bool = False, frames: Sequence[int] | None = None
) -> WorldEdit | None:
    """A random edit of a task in a given scene; None where the scene does not allow the drawn edit."""
    if task in ("remove", "local", "texture", "segment", "mark") and not scene.things:
        return None
    index = rng.randrange(len(scene.things))
    sampled = _motion(rng, scene, index, frames) if task == MOTION else SAMPLERS[task](rng, scene, index)
    if sampled is None:
        return None
    instruction, target, subject, look = sampled
    motion, mover = (True, index) if task == MOTION else (motion, None)
    texts = random.Random(rng.random())
    state = texts.getstate()
    before = say.caption(scene, texts, motion, frames, mover)
    texts.setstate(state)
    after = say.caption(target, texts, motion, frames, mover)
    if look:
        after = f"{after}, {rng.choice(LOOKS[look].captions)}"
    elif task in UNSEEN_TASKS:
        after = UNSEEN_CAPTIONS[task].format(the=say.noun(scene.things[index], texture=False))
    return WorldEdit(task, instruction, scene, target, before, after, subject, look)


Made = tuple[str, Scene, int | None, str | None] | None  # instruction, target, subject, look


def _add(rng: random.Random, scene: Scene, index: int) -> Made:
    free = [s for s in SLOTS if s not in {t.slot for t in scene.things}]
    kinds = {t.kind for t in scene.things}
    if not free or len(scene.things) > 1:
        return None
    slot = rng.choice(free)
    while (thing := sample_thing(rng, slot)).kind in kinds:
        pass
    with_position = rng.random() < 0.6
    thing = replace(thing, texture=thing.texture if rng.random() < 0.3 else "plain", depth=0.25)
    words = rng.choice(say.ADD).format(
        a=say.a(say.noun(thing)), where=f" {say.SLOT_PHRASES[slot]}" if with_position else ""
    )
    return words, replace(scene, things=(*scene.things, thing)), len(scene.things), None


def _remove(rng: random.Random, scene: Scene, index: int) -> Made:
    words = rng.choice(say.REMOVE).format(the=say.the(scene.things[index], rng))
    return words, scene.without(index), index, None


def _background(rng: random.Random, scene: Scene, index: int) -> Made:
    place = rng.choice([p for p in PLACES if p != scene.place])
    words = rng.choice(say.BACKGROUND).format(place=rng.choice(say.PLACE_NAMES[place]))
    return words, replace(scene, place=place), None, None


def _texture(rng: random.Random, scene: Scene, index: int) -> Made:
    thing = scene.things[index]
    texture = rng.choice([t for t in TEXTURES if t != thing.texture])
    words = rng.choice(say.TEXTURE).format(the=say.the(thing, rng), texture=texture, pattern=say.TEXTURE_NOUNS[texture])
    return words, scene.with_thing(index, texture=texture), index, None


def _local(rng: random.Random, scene: Scene, index: int) -> Made:
    thing = scene.things[index]
    if rng.random() < 0.65:
        colour = rng.choice([c for c in COLOURS if c != thing.colour])
        words = rng.choice(say.COLOUR).format(the=say.the(thing, rng), colour=colour)
        return words, scene.with_thing(index, colour=colour), index, None
    used = {t.kind for t in scene.things}
    kinds = [k for k in KINDS if (k in FLYING) == (thing.kind in FLYING) and k not in used]
    if not kinds:
        return None
    kind = rng.choice(kinds)
    words = rng.choice(say.KIND).format(the=say.the(thing, rng), a=say.a(kind))
    fits = place_thing(random.Random(0), kind, thing.colour, thing.slot)
    motion = thing.motion if kind not in ("house", "tree") and thing.motion != "grow" else "still"
    height = thing.y if kind in FLYING else standing_height(random.Random(thing.phase), kind, thing.size)
    target = scene.with_thing(index, kind=kind, motion=motion, y=height, speed=thing.speed or fits.speed)
    return words, target, index, None


def _global(rng: random.Random, scene: Scene, index: int) -> Made:
    if rng.random() < 0.4:
        time = rng.choice([t for t in TIMES if t != scene.time])
        return rng.choice(say.TIMES_ASKED[time]), replace(scene, time=time), None, None
    choices = [w for w in WEATHERS if w != scene.weather]
    weather = rng.choice([*choices, *([w for w in choices if w != "clear"])])
    return rng.choice(say.WEATHERS_ASKED[weather]), replace(scene, weather=weather), None, None


def _style(rng: random.Random, scene: Scene, index: int) -> Made:
    look = rng.choice(world_styles())
    return rng.choice(LOOKS[look].instructions), scene, None, look


def _motion(rng: random.Random, scene: Scene, index: int, frames: Sequence[int] | None = None) -> Made:
    sampled = sample_action(rng, scene, index, frames)
    return sampled and (*sampled, index, None)


def _segment(rng: random.Random, scene: Scene, index: int) -> Made:
    return rng.choice(say.SEGMENT).format(the=say.the(scene.things[index], rng)), scene, index, None


def _mark(rng: random.Random, scene: Scene, index: int) -> Made:
    return rng.choice(say.MARK).format(the=say.the(scene.things[index], rng)), scene, index, None


def _sketch(rng: random.Random, scene: Scene, index: int) -> Made:
    return rng.choice(say.SKETCH), scene, None, None


def _depth(rng: random.Random, scene: Scene, index: int) -> Made:
    return rng.choice(say.DEPTH), scene, None, None


SAMPLERS = {
    "add": _add,
    "remove": _remove,
    "background": _background,
    "texture": _texture,
    "local": _local,
    "style": _style,
    "global": _global,
    "segment": _segment,
    "sketch": _sketch,
    "depth": _depth,
    "mark": _mark,
    MOTION: _motion,
}
UNSEEN_CAPTIONS = {
    "segment": "a white mask of the {the} on black",
    "sketch": "white outlines on black",
    "depth": "a depth map",
    "mark": "the {the} in a box",
}


def render_edit(
    edits: Sequence[WorldEdit],
    frames: int | Sequence[int] = 8,
    size: int | tuple[int, int] = 64,
    truth: bool = False,
    device: torch.device | str = "cpu",
) -> RenderedEdit:
    """Draw the source and the true edit of each, with the same chance details, as ``render`` does."""
    before = render([e.source for e in edits], frames, size, truth, device)
    after = render([e.target for e in edits], frames, size, truth, device)
    numbers = range(frames) if isinstance(frames, int) else list(frames)
    edited = after.frames.clone()
    for i, e in enumerate(edits):
        if e.look:
            edited[i] = LOOKS[e.look].function(edited[i], e.source.seed, numbers[0])
        elif e.task in UNSEEN_TASKS:
            edited[i] = _unseen(e, before, i)
    return RenderedEdit(before.frames, edited, changed_region(before.frames, edited), before, after)


def _unseen(edit: WorldEdit, truth: Rendering, row: int) -> Tensor:
    """The maps (frames, 3, height, width) that alignment never sees."""
    frames = truth.frames[row]
    if edit.task == "depth":
        return (1 - truth.depth[row]).unsqueeze(1).expand_as(frames)
    if edit.task == "sketch":
        grey = frames.mean(1, keepdim=True)
        smooth = F.avg_pool2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), 3, 1)
        dx = F.pad(smooth[..., :, 2:] - smooth[..., :, :-2], (1, 1, 0, 0))
        dy = F.pad(smooth[..., 2:, :] - smooth[..., :-2, :], (0, 0, 1, 1))
        return ((dx.square() + dy.square()).sqrt() * 6 - 0.25).clamp(0, 1).expand_as(frames)
    assert edit.subject is not None
    mask = truth.masks[row, edit.subject]
    if edit.task == "segment":
        return mask.unsqueeze(1).expand_as(frames)
    boxed = frames.clone()
    line = max(1, frames.shape[-1] // 32)
    for f, m in enumerate(mask > 0.5):
        ys, xs = torch.nonzero(m.any(1)).flatten().tolist(), torch.nonzero(m.any(0)).flatten().tolist()
        if not ys:
            continue
        top, bottom = max(0, ys[0] - line), min(m.shape[0], ys[-1] + 1 + line)
        left, right = max(0, xs[0] - line), min(m.shape[1], xs[-1] + 1 + line)
        ring = torch.zeros_like(m)
        ring[top:bottom, left:right] = True
        ring[top + line : bottom - line, left + line : right - line] = False
        boxed[f] = torch.where(ring, frames.new_tensor([1.0, 0.1, 0.9]).view(3, 1, 1), boxed[f])
    return boxed
