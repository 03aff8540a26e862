"""The source of an edit: scanned once to find its shots, encoded block by block when a window needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from torch import Tensor

from eve_cli import registry
from eve_cli.diffusion.windows import shots_between
from eve_cli.editing.run_dir import BLOCK, RunDir
from eve_cli.errors import InputError
from eve_cli.media.clip import Picture
from eve_cli.models.canvas import to_floats
from eve_cli.runtime.oom import FallbackRunner

FindCuts = Callable[[Iterable[Any]], Sequence[int]]


def resized_frames(
    path: str,
    start: float | None,
    end: float | None,
    size: tuple[int, int],
    times: list[Fraction] | None = None,
    fps: float | None = None,
) -> Iterator[Picture]:
    """The frames between two seconds, resized to (width, height), each uint8 (3, height, width).

    The time of each, in seconds, is appended to `times`. `fps` is the rate of a folder of pictures.
    """
    from eve_cli.media.decode import VideoReader

    with VideoReader(path, start, end, size=size, fps=fps) as reader:
        for frame in reader:
            if times is not None:
                times.append(frame.pts)
            yield frame.rgb


def stored(frames: Iterable[Picture], run_dir: RunDir) -> Iterator[Picture]:
    """The same frames, which are saved block by block as they pass."""
    block: list[Tensor] = []
    number = 0
    for frame in frames:
        block.append(torch.from_numpy(frame.copy()))
        if len(block) == BLOCK:
            run_dir.save_pixels(number, torch.stack(block))
            block, number = [], number + 1
        yield frame
    if block:
        run_dir.save_pixels(number, torch.stack(block))


def find_shots(path: str, scene_cuts: str, frames: Iterable[Picture], find_cuts: FindCuts | None = None) -> list[range]:
    """The shots of a clip, by absolute frames; InputError if there is no frame."""
    count = 0

    def counted() -> Iterator[Picture]:
        nonlocal count
        for frame in frames:
            count += 1
            yield frame

    passing = counted()
    cuts: Sequence[int] = ()
    if scene_cuts == "auto":
        cuts = list((find_cuts or registry.load("eve_cli.media.cuts:find_cuts"))(passing))
    for _ in passing:
        pass
    if not count:
        raise InputError(f"{path}: there is no frame between --start and --end.")
    return shots_between(cuts, count)


@torch.inference_mode()
def encode(run_dir: RunDir, runner: FallbackRunner, frames: range) -> None:
    """Encodes the blocks that hold these frames, where that is not done; whole blocks, so that all runs are alike."""
    for number in range(frames.start // BLOCK, (frames.stop - 1) // BLOCK + 1):
        if not run_dir.has_latents(number):
            pixels = to_floats(run_dir.block_pixels(number))
            at = f"encoding from frame {number * BLOCK}"
            run_dir.save_latents(number, runner("encode", at, partial(runner.editor.encode, pixels)).float())
