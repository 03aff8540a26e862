"""The data points of an alignment: latents, edited first frames and teachers' samples, kept on disk.

All of it comes from frozen models. A point is prepared when it is first read, in files named after everything that it
depends on: runs with the same model, inputs and teachers share the files, and a resumed run reads them again.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
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
from eve_cli.runtime import distributed
from eve_cli.storage.atomic import atomic_file

FORMAT = 2  # of the files; version 1 held 16 points each
GROUP = 16  # points that are prepared together
SAMPLE_STREAM, FRAMES_STREAM, GENERATE_STREAM = 11, 12, 13  # of frame_noise
MAX_FRAMES = 1 << 20  # of a point; noise is numbered by point and frame
WAIT = 0.5  # seconds between two looks for the files of other processes
Point = Mapping[str, Tensor]


@dataclass(frozen=True)
class PointSettings:
    """Number, frames and pixels of points, sampling steps of the teachers, and the seed.

    `model` and `inputs` identify the weights and the data, so that points of others are not read by mistake.
    """

    count: int
    frames: int
    side: int
    steps: int
    discriminator_frames: int
    seed: int
    model: str
    inputs: str

    def key(self, *more: object) -> str:
        """A name for files; it does not depend on `count`, so that points can be added later."""
        content = (self.frames, self.side, self.steps, self.discriminator_frames, self.seed, self.model, self.inputs)
        return hashlib.blake2b(repr((FORMAT, *content, *more)).encode(), digest_size=10).hexdigest()


class PreparedPoints(Sequence[Point]):
    """`settings.count` points, each prepared when first read, on the CPU with floating tensors in half precision.

    A point has `source` (f, c, h, w), `first` (c, h, w), token numbers `instruction` and `caption`, `task`,
    `discriminator_frames`, and with `samples` a `real_NAME` for each teacher. A `lora_teacher` generates the sources
    from their captions. Reading a point prepares it with its neighbours in `order`, `GROUP` at a time; points that are
    not in it are prepared alone. Threads may read at the same time. OutputError if `folder` cannot be written.
    """

    def __init__(
        self,
        editor: Editor,
        inputs: Inputs,
        teachers: Sequence[Teacher],
        first_teacher: EditTeacher,
        settings: PointSettings,
        folder: Path,
        samples: bool = True,
        lora_teacher: LoraTeacher | None = None,
    ) -> None:
        self.editor, self.inputs, self.settings, self.folder = editor, inputs, settings, folder
        self.first_teacher, self.lora_teacher = first_teacher, lora_teacher
        self.teachers = tuple(teachers) if samples else ()
        self.order: Sequence[int] = ()
        self.prepared: dict[int, Point] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.settings.count

    def __getitem__(self, number: int) -> Point:  # type: ignore[override]  # no slices
        if not 0 <= number < len(self):
            raise IndexError(number)
        with self._lock:
            if number not in self.prepared:
                self._prepare(self._group(number))
            return self.prepared[number]

    def missing(self, numbers: Iterable[int]) -> Iterator[tuple[str, int]]:
        """How many of these points, and of each teacher's samples for them, have no file yet."""
        every = list(numbers)
        for name in ("points", *(teacher.name for teacher in self.teachers)):
            yield name, sum(not self._file(name, number).is_file() for number in every)

    def prepare_with_others(self) -> None:
        """Prepares this process's share of the points of `order`; returns when all of them are prepared.

        The processes of one machine share the files. None waits in a collective operation, which would give up after
        some minutes: each looks for the others' files until they are there.
        """
        groups = [self.order[i : i + GROUP] for i in range(0, len(self.order), GROUP)]
        for group in groups[distributed.local_rank() :: distributed.local_world_size()]:
            with self._lock:
                self._prepare(group)
        while any(count for _, count in self.missing(self.order)):
            time.sleep(WAIT)

    def _group(self, number: int) -> Sequence[int]:
        if number not in self.order:
            return [number]
        start = self.order.index(number) // GROUP * GROUP
        return self.order[start : start + GROUP]

    def _prepare(self, numbers: Sequence[int]) -> None:
        points = self._cached("points", numbers, lambda: self._points(numbers))
        batch = {name: torch.stack([point[name] for point in points]) for name in points[0]}
        for teacher in self.teachers:
            samples = self._cached(
                teacher.name, numbers, lambda teacher=teacher: self._samples(teacher, batch, numbers)
            )
            for point, sample in zip(points, samples, strict=True):
                point[f"real_{teacher.name}"] = sample["real"]
        self.prepared |= zip(numbers, points, strict=True)

    def _points(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        editor, s = self.editor, self.settings
        inputs = self.inputs.points(numbers, s.frames, s.side)
        with editor.making():
            pieces = vae.pieces(inputs.frames.flatten(0, 1), at_once=GROUP * s.frames)
            source = torch.cat([editor.encode(piece).float() for piece in pieces]).unflatten(
                0, (len(numbers), s.frames)
            )
            if self.lora_teacher is not None:
                noise = self._noise(numbers, source.shape[2:], GENERATE_STREAM).flatten(0, 1)
                text = per_frame(editor.embed(inputs.shown), s.frames)
                source = self.lora_teacher.generate(noise, text, s.steps).float().view(source.shape)
            order = [frame_noise(s.seed, [n], (1, 1, s.frames), FRAMES_STREAM).flatten().argsort() for n in numbers]
            batch = {
                "source": source,
                "instruction": editor.parts.tokens(inputs.instructions),
                "caption": editor.parts.tokens(inputs.captions),
                "task": task_labels(inputs.tasks),
                "discriminator_frames": torch.stack(order)[:, : s.discriminator_frames].sort(1).values,
            }
            noise = self._noise(numbers, source.shape[2:])
            return batch | {"first": self.first_teacher.edit_first(noise[:, 0], self._context(batch), s.steps)}

    def _samples(self, teacher: Teacher, batch: Mapping[str, Tensor], numbers: Sequence[int]) -> dict[str, Tensor]:
        with self.editor.making():
            noise = self._noise(numbers, batch["source"].shape[2:])
            samples = teacher.sample(noise, self._context(batch), self.settings.steps)
            return {"real": samples.reshape(len(numbers), -1, *samples.shape[-3:])}

    def _context(self, batch: Mapping[str, Tensor]) -> Context:
        """The teachers' conditions for a batch of points; those of the student are not used."""
        editor = self.editor
        moved = {name: value.to(editor.device) for name, value in batch.items()}
        moved = {name: v.to(editor.dtype) if v.is_floating_point() else v for name, v in moved.items()}
        unused = {"first": moved["source"][:, 0], "student_text": moved["instruction"], "student_task": moved["task"]}
        return Context.of(editor, unused | moved)

    def _noise(self, numbers: Sequence[int], shape: Sequence[int], stream: int = SAMPLE_STREAM) -> Tensor:
        """Noise (n, f, c, h, w) of points, on the editor's device."""
        length, (c, h, w) = self.settings.frames, shape
        frames = [number * MAX_FRAMES + frame for number in numbers for frame in range(length)]
        noise = frame_noise(self.settings.seed, frames, (c, h, w), stream)
        return noise.unflatten(0, (len(numbers), length)).to(self.editor.device)

    def _file(self, name: str, number: int) -> Path:
        guidance = {teacher.name: teacher.guidance for teacher in self.teachers}.get(name)
        key = self.settings.key(name, guidance, self.first_teacher.guidance)
        return self.folder / f"{key}-{number:06d}.safetensors"

    def _cached(
        self, name: str, numbers: Sequence[int], compute: Callable[[], Mapping[str, Tensor]]
    ) -> list[dict[str, Tensor]]:
        """The files of some points; if any is missing or damaged, all are computed and the missing ones written.

        So rounding does not depend on which files are there.
        """
        files = [self._file(name, number) for number in numbers]
        rows = [_load_file(file) for file in files]
        if all(row is not None for row in rows):
            return [row for row in rows if row is not None]
        batch = {k: (v.half() if v.is_floating_point() else v).cpu().contiguous() for k, v in compute().items()}
        computed = [{k: v[i].clone() for k, v in batch.items()} for i in range(len(numbers))]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for file, row, tensors in zip(files, rows, computed, strict=True):
                if row is None:
                    with atomic_file(file) as part:
                        save_file(tensors, part)
        except (OSError, OutputError, SafetensorError) as error:
            raise OutputError(f"Cannot write prepared points to {self.folder}: {error}.") from error
        return [row or tensors for row, tensors in zip(rows, computed, strict=True)]


def _load_file(file: Path) -> dict[str, Tensor] | None:
    try:
        return load_file(file) if file.is_file() else None
    except (OSError, SafetensorError):
        file.unlink(missing_ok=True)
        return None
