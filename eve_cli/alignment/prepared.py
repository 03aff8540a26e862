"""The data points of an alignment, prepared once and kept on disk: latents, edited first frames, teachers' samples.

All of it is frozen, so no step has to make it again. Each piece of points is a file of its own, named by all that it
depends on: runs that share a model, inputs and teachers share the files, and a run that was stopped goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from eve_cli.alignment.context import Context, per_frame
from eve_cli.alignment.teachers.base import Teacher
from eve_cli.alignment.teachers.edit import EditTeacher
from eve_cli.alignment.teachers.lora import LoraTeacher
from eve_cli.data.inputs import Inputs
from eve_cli.diffusion.noise import frame_noise
from eve_cli.errors import OutputError
from eve_cli.models import vae
from eve_cli.models.editor import Editor
from eve_cli.models.parts import task_labels
from eve_cli.storage.cache import cached

PIECE = 16
SAMPLE_STREAM, LOOK_STREAM, PAINT_STREAM = 11, 12, 13  # of frame_noise
AT_MOST = 1 << 20  # frames a point may have, so that noise is told apart by point and frame
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Plan:
    """What is prepared: how many points of how many frames, with how many sampling steps, from which seed.

    `model` and `inputs` name the weights and the data, so that files made with others are not mistaken for these.
    """

    count: int
    frames: int
    side: int
    steps: int
    looked: int
    seed: int
    model: str
    inputs: str

    def key(self, *more: object) -> str:
        """A name for files; `count` is not in it, so that more points can be added later."""
        told = (self.frames, self.side, self.steps, self.looked, self.seed, self.model, self.inputs, *more)
        return hashlib.blake2b(repr(told).encode(), digest_size=10).hexdigest()


def prepare(
    editor: Editor,
    inputs: Inputs,
    teachers: Sequence[Teacher],
    first: EditTeacher,
    plan: Plan,
    folder: Path,
    samples: bool = True,
    painter: LoraTeacher | None = None,
    progress: Progress = lambda done, of: None,
) -> dict[str, Tensor]:
    """All points as tensors with `plan.count` rows, on the CPU; floating ones in half precision.

    `source` (n, f, c, h, w), `first` (n, c, h, w), token numbers `instruction` and `caption`, `task`, `looked`, and
    with `samples` a `real_NAME` for each teacher. A `painter` paints the inputs anew from what they are said to show.
    OutputError if the folder cannot be written.
    """
    pieces: list[dict[str, Tensor]] = []
    for start in range(0, plan.count, PIECE):
        base = _kept(
            folder / f"{plan.key('points', first.guidance)}-{start:06d}.safetensors",
            lambda start=start: _base(editor, inputs, first, plan, start, painter),
        )
        for teacher in teachers if samples else ():
            made = _kept(
                folder / f"{plan.key(teacher.name, teacher.guidance, first.guidance)}-{start:06d}.safetensors",
                lambda teacher=teacher, base=base, start=start: _real(editor, teacher, base, plan, start),
            )
            base = base | {f"real_{teacher.name}": made["real"]}
        pieces.append(base)
        progress(min(plan.count, start + PIECE), plan.count)
    return {name: torch.cat([piece[name] for piece in pieces])[: plan.count] for name in pieces[0]}


def _base(
    editor: Editor, inputs: Inputs, first: EditTeacher, plan: Plan, start: int, painter: LoraTeacher | None
) -> dict[str, Tensor]:
    numbers = range(start, start + PIECE)
    drawn = inputs.points(numbers, plan.frames, plan.side)
    with editor.making():
        pieces = vae.pieces(drawn.frames.flatten(0, 1), at_once=PIECE * plan.frames)
        source = torch.cat([editor.encode(piece).float() for piece in pieces])
        source = source.view(PIECE, plan.frames, -1, *_grid(editor, plan))
        if painter is not None:
            noise = _noise(plan, numbers, source.shape[2:], PAINT_STREAM).to(editor.device).flatten(0, 1)
            text = per_frame(editor.embed(drawn.shown), plan.frames)
            source = painter.paint(noise, text, plan.steps).float().view(source.shape)
        order = [frame_noise(plan.seed, [n], (1, 1, plan.frames), LOOK_STREAM).flatten().argsort() for n in numbers]
        rows = {
            "source": source,
            "instruction": editor.parts.tokens(drawn.instructions),
            "caption": editor.parts.tokens(drawn.captions),
            "task": task_labels(drawn.tasks),
            "looked": torch.stack(order)[:, : plan.looked].sort(1).values,
        }
        context = context_of(editor, rows)
        noise = _noise(plan, numbers, source.shape[2:]).to(editor.device)
        rows["first"] = first.first(noise[:, 0], context, plan.steps)
    return rows


def _real(editor: Editor, teacher: Teacher, base: dict[str, Tensor], plan: Plan, start: int) -> dict[str, Tensor]:
    with editor.making():
        context = context_of(editor, base)
        noise = _noise(plan, range(start, start + PIECE), base["source"].shape[2:]).to(editor.device)
        made = teacher.sample(noise, context, plan.steps)
        return {"real": made.reshape(PIECE, -1, *made.shape[-3:])}


def context_of(editor: Editor, rows: Mapping[str, Tensor]) -> Context:
    """The context of prepared rows as the teachers read it; the student is told nothing here."""
    device = {k: v.to(editor.device) for k, v in rows.items()}
    device = {k: v.to(editor.dtype) if v.is_floating_point() else v for k, v in device.items()}
    blank = {"first": device["source"][:, 0], "asked": device["instruction"], "label": device["task"]}
    return Context.of(editor, blank | device)


def _noise(plan: Plan, numbers: Sequence[int], shape: Sequence[int], stream: int = SAMPLE_STREAM) -> Tensor:
    frames = [n * AT_MOST + f for n in numbers for f in range(plan.frames)]
    c, h, w = shape
    return frame_noise(plan.seed, frames, (c, h, w), stream).view(len(numbers), plan.frames, c, h, w)


def _grid(editor: Editor, plan: Plan) -> tuple[int, int]:
    return editor.latent_size(plan.side, plan.side)


def _kept(file: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of a file, floating ones in half precision; made and written if it is missing or damaged."""

    def halves() -> dict[str, Tensor]:
        return {name: value.half() if value.is_floating_point() else value for name, value in make().items()}

    try:
        return cached(file, halves)
    except OutputError as error:
        raise OutputError(f"Cannot keep the prepared points in {file.parent}: {error}") from error


def missing(plan: Plan, teachers: Sequence[Teacher], first: EditTeacher, folder: Path) -> Iterator[tuple[str, int]]:
    """How many points, and how many samples of each teacher, are yet to be made."""
    names = [("points", plan.key("points", first.guidance))]
    names += [(t.name, plan.key(t.name, t.guidance, first.guidance)) for t in teachers]
    for name, key in names:
        lacking = sum(
            not (folder / f"{key}-{start:06d}.safetensors").is_file() for start in range(0, plan.count, PIECE)
        )
        yield name, min(plan.count, lacking * PIECE)
