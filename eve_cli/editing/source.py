"""The source of an edit: seen once to find its shots, encoded block by block when a window asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from torch import Tensor

from eve_cli import registry
from eve_cli.editing.fit import model_size, to_floats
from eve_cli.editing.folder import BLOCK, RunFolder
from eve_cli.editing.guard import Guard
from eve_cli.editing.request import EditRequest
from eve_cli.editing.windows import shots_between
from eve_cli.errors import InputError
from eve_cli.media.clip import Picture
from eve_cli.models.editor import Editor

FindCuts = Callable[[Iterable[Any]], Sequence[int]]


def size_of(request: EditRequest, editor: Editor) -> tuple[int, int]:
    """(width, height) at which the model sees the source."""
    from eve_cli.media.decode import VideoReader

    if editor.settings.canvas == "square":
        return editor.settings.pixels, editor.settings.pixels
    with VideoReader(request.input) as reader:
        return model_size(editor, reader.info.width, reader.info.height)


def pictures(request: EditRequest, editor: Editor, times: list[Fraction] | None = None) -> Iterator[Picture]:
    """The frames between --start and --end at the model's size, each uint8 (3, height, width).

    `times` gets the time of each, in seconds.
    """
    from eve_cli.media.decode import VideoReader

    with VideoReader(request.input, request.start, request.end, size=size_of(request, editor)) as reader:
        for frame in reader:
            if times is not None:
                times.append(frame.pts)
            yield frame.rgb


def stored(passing: Iterable[Picture], folder: RunFolder) -> Iterator[Picture]:
    """The same frames, which go into the folder as they pass."""
    held: list[Tensor] = []
    number = 0
    for picture in passing:
        held.append(torch.from_numpy(picture.copy()))
        if len(held) == BLOCK:
            folder.save_pixels(number, torch.stack(held))
            held, number = [], number + 1
        yield picture
    if held:
        folder.save_pixels(number, torch.stack(held))


def find_shots(request: EditRequest, frames: Iterable[Picture], find_cuts: FindCuts | None = None) -> list[range]:
    """The shots of a clip, by absolute frames; InputError if there is no frame."""
    count = 0

    def counted() -> Iterator[Picture]:
        nonlocal count
        for picture in frames:
            count += 1
            yield picture

    passing = counted()
    cuts: Sequence[int] = ()
    if request.scene_cuts == "auto":
        cuts = list((find_cuts or registry.load("eve_cli.media.cuts:find_cuts"))(passing))
    for _ in passing:
        pass
    if not count:
        raise InputError(f"{request.input}: there is no frame between --start and --end.")
    return shots_between(cuts, count)


@torch.inference_mode()
def encode(folder: RunFolder, guard: Guard, frames: range) -> None:
    """Sees to it that the latents of these frames are in the folder; whole blocks, so that all runs make the same."""
    for number in range(frames.start // BLOCK, (frames.stop - 1) // BLOCK + 1):
        if not folder.has_latents(number):
            floats = to_floats(folder.block_pixels(number))
            at = f"encoding from frame {number * BLOCK}"
            folder.save_latents(number, guard("encode", at, partial(guard.editor.encode, floats)).float())
