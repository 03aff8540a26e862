"""Writes the result: finished windows decoded, brought to the source's size, with the source's times and sound."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from eve_cli.diffusion.windows import Window
from eve_cli.editing import detail
from eve_cli.editing.edit_plan import EditPlan
from eve_cli.editing.run_dir import RunDir
from eve_cli.errors import InputError
from eve_cli.media.clip import Picture, VideoInfo
from eve_cli.media.stills import StillWriter
from eve_cli.models.canvas import to_bytes, to_floats
from eve_cli.runtime.oom import FallbackRunner

if TYPE_CHECKING:
    from eve_cli.media.encode import VideoWriter


def render(
    plan: EditPlan, runner: FallbackRunner, run_dir: RunDir, progress: Callable[[str, int, int], None]
) -> tuple[float, list[str]]:
    """Writes the result; gives its mean absolute difference to the source at the model's size, and notes to show."""
    from eve_cli.media.compose import side_by_side
    from eve_cli.media.decode import VideoReader

    edit, change, done, total = plan.edit, 0.0, 0, plan.frames
    with VideoReader(edit.input, edit.start, edit.end, fps=edit.fps) as reader:
        writer = _writer(plan, reader.info)
        with writer:
            frames = iter(reader)
            for before, after, effect in small_frames(plan.windows, runner, run_dir):
                change += float((after - before).abs().mean()) * len(after) / total
                finish = finisher(edit.size, before, after, effect)
                for number in range(len(after)):
                    frame = next(frames, None)
                    if frame is None:
                        raise InputError(f"{edit.input}: ended at frame {done}, earlier than before; edit it again.")
                    pictures = list(finish(number, frame.rgb))
                    rgb = side_by_side(pictures) if edit.side_by_side else pictures[-1]
                    writer.write(rgb, frame.pts, frame.duration, _fitted(frame.alpha, rgb, edit.side_by_side))
                    done += 1
                    progress("write", done, total)
    return change, [*reader.report.warnings[len(reader.info.notes) :], *writer.notes]


def rehearse(plan: EditPlan, info: VideoInfo) -> None:
    """OutputError where the result cannot be written with these settings, at its size and with the source's tracks."""
    writer = _writer(plan, info)
    if isinstance(writer, StillWriter):
        return
    width, height = plan.frame_size if plan.edit.size == "model" else (info.width, info.height)
    writer.rehearse(width * (1 + plan.edit.side_by_side), height)


def _writer(plan: EditPlan, info: VideoInfo) -> VideoWriter | StillWriter:
    """The writer of a video, or of a picture if the source is one; either stores the record as metadata."""
    from eve_cli.media.encode import VideoWriter

    edit, record = plan.edit, json.dumps(plan.record(), sort_keys=True)
    output = str(edit.output)
    if edit.picture:
        return StillWriter(output, edit.input, edit.overwrite, record, edit.lossless)
    return VideoWriter(
        output,
        like=info,
        codec=edit.codec,
        crf=0 if edit.lossless else edit.crf,
        overwrite=edit.overwrite,
        record=record,
    )


def _fitted(alpha: Picture | None, rgb: Picture, twice: bool) -> Picture | None:
    """The source's transparency at the size of the result, which shows the picture once or, side by side, twice."""
    from eve_cli.media.compose import resized

    if alpha is None:
        return None
    _, height, width = rgb.shape
    width //= 1 + twice
    once = alpha if alpha.shape == (height, width) else resized(np.stack([alpha] * 3), width, height)[0]
    return np.concatenate([once] * (1 + twice), axis=1)


def small_frames(
    windows: Iterable[Window], runner: FallbackRunner, run_dir: RunDir
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """All frames in blocks (f, 3, h, w) in [0, 1]: the source as the VAE reproduces it, the edit, and the effect.

    Blocks are parts of a window's new frames, so that few frames are in memory however long a window is.
    """

    def decode(latents: Tensor) -> Tensor:
        at = f"decoding {window.name}"
        return runner("decode", at, partial(runner.editor.decode, latents.to(runner.editor.device))).float()

    step = runner.editor.settings.frames
    for window in windows:
        edited, effect, length = run_dir.window(window.index), run_dir.effect(window.index), len(window.new)
        for start in range(0, length, step):
            part = slice(start, min(start + step, length))
            source, latents = run_dir.source(window.new[part]), edited[window.overlap :][part]
            before = decode(source)
            after = before if torch.equal(source, latents) else decode(latents)
            yield before, after, None if effect is None else to_floats(effect[:, -length:][:, part].to(before.device))


def finisher(
    size: str, before: Tensor, after: Tensor, effect: Tensor | None
) -> Callable[[int, Picture], tuple[Picture, Picture]]:
    """Gives source and result, uint8 (3, height, width), of a window's frame by its number and full-size picture."""
    if size == "model":
        sources, results = to_bytes(before).cpu().numpy(), to_bytes(after).cpu().numpy()
        return lambda number, rgb: (sources[number], results[number])
    maps = detail.plan(before, after, effect)

    def finish(number: int, rgb: Picture) -> tuple[Picture, Picture]:
        source = to_floats(torch.from_numpy(rgb.copy()).to(before.device))[None]
        result = detail.apply(source, maps.frame(number))
        return rgb, to_bytes(result)[0].cpu().numpy()

    return finish
