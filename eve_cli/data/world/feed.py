"""What trainings draw from the world: batches that are pure functions of a seed, mixed with photographs."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from eve_cli.data.looks import LOOKS, draw_look, world_styles
from eve_cli.data.sample import changed_region
from eve_cli.data.world import language as say
from eve_cli.data.world.edits import UNSEEN_TASKS, WorldEdit, render_edit, sample_edit
from eve_cli.data.world.render import render
from eve_cli.data.world.scene import sample_scene

ASKED_SHARE = 0.25  # of the pictures, those that go with an instruction in place of a caption
LONG = 8  # frame numbers that single pictures and beginnings of clips are taken from


@dataclass(frozen=True)
class Pictures:
    """Lone frames (n, 3, side, side) in [0, 1] with their texts; ``weight`` (n, side, side) is 1 where things are."""

    frames: Tensor
    texts: list[str]
    weight: Tensor


def pictures(seed: int, count: int, side: int, photos: Tensor | None = None, photo_share: float = 0.0) -> Pictures:
    """Frames as a backbone learns them: plain scenes, scenes under a look, and photographs.

    A text is the caption, or an instruction of which the picture shows the result, so that the text encoder learns
    both.
    """
    rng = random.Random(f"pictures {seed}")
    photo_count = sum(rng.random() < photo_share for _ in range(count)) if photos is not None else 0
    scenes, edits, numbers = [], [], [rng.randrange(LONG)]
    for _ in range(count - photo_count):
        edit = sample_edit(rng.randrange(2**40)) if rng.random() < ASKED_SHARE else None
        scenes.append(edit.target if edit else sample_scene(rng.randrange(2**40)))
        edits.append(edit)
    drawn = render(scenes, numbers, side) if scenes else None
    frames, texts, weight = [], [], []
    for i, scene in enumerate(scenes):
        assert drawn is not None
        edit = edits[i]
        frame, text = drawn.frames[i], say.caption(scene, rng, frames=numbers) if edit is None else edit.instruction
        if edit and edit.look:
            frame = LOOKS[edit.look].function(frame, scene.seed, 0)
        elif LOOKS and edit is None and rng.random() < 0.15:
            look = LOOKS[rng.choice(world_styles())]
            frame = look.function(frame, scene.seed, 0)
            text = f"{text}, {rng.choice(look.captions)}" if rng.random() < 0.7 else rng.choice(look.instructions)
        frames.append(frame)
        texts.append(text)
        weight.append(drawn.masks[i].sum(0))
    for _ in range(photo_count):
        assert photos is not None
        frame, text = photograph(photos, rng)
        frames.append(frame)
        texts.append(text)
        weight.append(torch.zeros(1, side, side))
    return Pictures(torch.cat(frames), texts, torch.cat(weight).clamp(0, 1))


def photograph(photos: Tensor, rng: random.Random) -> tuple[Tensor, str]:
    """A photograph (1, 3, side, side) with a text, half of them under a look."""
    frame = photos[rng.randrange(len(photos))].float().unsqueeze(0) / 255
    if rng.random() < 0.5:
        frame = frame.flip(-1)
    if not LOOKS or rng.random() < 0.5:
        return frame, rng.choice(("a photo", "a photograph", "a photo of a scene"))
    look = draw_look(rng)
    text = f"a photo, {rng.choice(look.captions)}" if rng.random() < 0.7 else look.instruction(rng)
    return look.function(frame, rng.randrange(2**31), 0), text


@dataclass(frozen=True)
class Pairs:
    """Edited frames: ``source``, ``edited`` (n, frames, 3, side, side), ``changed`` (n, frames, side, side), texts."""

    source: Tensor
    edited: Tensor
    changed: Tensor
    instructions: list[str]
    captions: list[str]
    tasks: list[str]


def pairs(
    seed: int,
    count: int,
    side: int,
    photos: Tensor | None = None,
    photo_share: float = 0.0,
    unseen_share: float = 0.1,
    tasks: dict[str, float] | None = None,
) -> Pairs:
    """Single-frame edits as the edit adapter learns them: the world's, and photographs under looks."""
    rng = random.Random(f"pairs {seed}")
    photo_count = sum(rng.random() < photo_share for _ in range(count)) if photos is not None and LOOKS else 0
    edits: list[WorldEdit] = []
    numbers = [rng.randrange(LONG)]
    for _ in range(count - photo_count):
        if rng.random() < unseen_share:
            task = rng.choice(UNSEEN_TASKS)
        else:
            task = rng.choices(list(tasks), list(tasks.values()))[0] if tasks else None
        edits.append(sample_edit(rng.randrange(2**40), task, frames=numbers))
    source, edited = [], []
    if edits:
        drawn = render_edit(edits, numbers, side)
        source, edited = [drawn.source], [drawn.edited]
    instructions, captions, labels = [e.instruction for e in edits], [e.caption for e in edits], [e.task for e in edits]
    for _ in range(photo_count):
        assert photos is not None
        frame = photos[rng.randrange(len(photos))].float().unsqueeze(0) / 255
        frame = frame.flip(-1) if rng.random() < 0.5 else frame
        look = draw_look(rng)
        source.append(frame.unsqueeze(0))
        edited.append(look.function(frame, rng.randrange(2**31), rng.randrange(LONG)).unsqueeze(0))
        instructions.append(look.instruction(rng))
        captions.append(f"a photo, {rng.choice(look.captions)}")
        labels.append(look.task)
    before, after = torch.cat(source), torch.cat(edited)
    changed = changed_region(before, after)
    return Pairs(before, after, changed, instructions, captions, labels)


@dataclass(frozen=True)
class Clips:
    """Clips (n, frames, 3, side, side) in [0, 1] with their texts."""

    frames: Tensor
    texts: list[str]


def clips(
    seed: int, count: int, frames: int, side: int, photos: Tensor | None = None, photo_share: float = 0.0
) -> Clips:
    """Clips as the video adapter learns them: scenes in motion, some under a look, and photographs that drift."""
    rng = random.Random(f"clips {seed}")
    photo_count = sum(rng.random() < photo_share for _ in range(count)) if photos is not None else 0
    scenes, texts, start = [], [], rng.randrange(LONG)
    numbers = range(start, start + frames)
    for _ in range(count - photo_count):
        edit = sample_edit(rng.randrange(2**40)) if rng.random() < ASKED_SHARE else None
        scenes.append(edit.target if edit else sample_scene(rng.randrange(2**40)))
        texts.append(edit.instruction if edit else say.caption(scenes[-1], rng, motion=True, frames=numbers))
    drawn = render(scenes, numbers, side).frames
    batch = [drawn]
    for i in range(len(scenes)):
        if LOOKS and rng.random() < 0.2:
            look = draw_look(rng)
            drawn[i] = look.function(drawn[i], rng.randrange(2**31), start)
            texts[i] = (
                rng.choice(look.instructions) if rng.random() < 0.5 else f"{texts[i]}, {rng.choice(look.captions)}"
            )
    for _ in range(photo_count):
        assert photos is not None
        clip, text = drifting(photos, frames, rng), "a photo"
        if LOOKS and rng.random() < 0.6:
            look = draw_look(rng)
            clip = look.function(clip, rng.randrange(2**31), start)
            text = look.instruction(rng) if rng.random() < 0.6 else f"a photo, {rng.choice(look.captions)}"
        batch.append(clip.unsqueeze(0))
        texts.append(text)
    return Clips(torch.cat(batch), texts)


def drifting(photos: Tensor, frames: int, rng: random.Random) -> Tensor:
    """A clip (frames, 3, side, side) made of one photograph seen by a slowly moving camera."""
    picture = photos[rng.randrange(len(photos))].float().unsqueeze(0) / 255
    t = torch.linspace(-1, 1, frames)
    zoom = 0.82 + rng.uniform(-0.06, 0.06) * t
    theta = torch.zeros(frames, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom
    theta[:, 0, 2], theta[:, 1, 2] = rng.uniform(-0.12, 0.12) * t, rng.uniform(-0.08, 0.08) * t
    grid = F.affine_grid(theta, [frames, *picture.shape[1:]], align_corners=False)
    return F.grid_sample(picture.expand(frames, -1, -1, -1), grid, padding_mode="reflection", align_corners=False)
