"""Finished windows become a video or a picture: decoded, brought to size, written with the source's times and sound."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from eve_cli.diffusion.windows import Window
from eve_cli.editing import detail
from eve_cli.editing.request import EditRequest
from eve_cli.editing.run_dir import RunFolder
from eve_cli.errors import InputError
from eve_cli.media.clip import Picture, VideoInfo
from eve_cli.media.stills import StillWriter
from eve_cli.models.canvas import to_bytes, to_floats
from eve_cli.runtime.guard import Guard

if TYPE_CHECKING:
    from eve_cli.media.encode import VideoWriter

METADATA_KEY = "comment"


def render(
    request: EditRequest,
    plan: dict[str, Any],
    guard: Guard,
    folder: RunFolder,
    progress: Callable[[str, int, int], None],
) -> tuple[float, list[str]]:
    """Writes the result; gives its mean absolute difference to the source at the model's size, and notes to show."""
    from eve_cli.media.compose import side_by_side
    from eve_cli.media.decode import VideoReader

    change, done, total = 0.0, 0, plan["record"]["frames"]
    with VideoReader(request.input, request.start, request.end) as reader:
        writer = _writer(request, plan["record"], reader.info)
        with writer:
            frames = iter(reader)
            for before, after, effect in small_frames(plan, guard, folder):
                change += float((after - before).abs().mean()) * len(after) / total
                finish = finisher(request, before, after, effect)
                for number in range(len(after)):
                    frame = next(frames, None)
                    if frame is None:
                        raise InputError(f"{request.input}: ended at frame {done}, earlier than before; edit it again.")
                    shown = list(finish(number, frame.rgb))
                    rgb = side_by_side(shown) if request.side_by_side else shown[-1]
                    writer.write(rgb, frame.pts, frame.duration, _fitted(frame.alpha, rgb, request.side_by_side))
                    done += 1
                    progress("write", done, total)
    return change, [*reader.report.warnings[len(reader.info.notes) :], *writer.notes]


def _writer(request: EditRequest, record: dict[str, Any], info: VideoInfo) -> VideoWriter | StillWriter:
    """Where the frames go: a video, or a picture if the source is one; the record goes into either."""
    from eve_cli.media.encode import VideoWriter

    output, told = str(request.output), json.dumps(record, sort_keys=True)
    if request.picture:
        return StillWriter(output, request.input, request.overwrite, told, request.lossless)
    return VideoWriter(
        output,
        like=info,
        codec=request.codec,
        crf=0 if request.lossless else request.crf,
        overwrite=request.overwrite,
        metadata={METADATA_KEY: told},
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
    plan: dict[str, Any], guard: Guard, folder: RunFolder
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """All frames in blocks (f, 3, h, w) in [0, 1]: as the codec shows the source, edited, and the effect.

    Blocks are parts of a window's new frames, so that however long a window is, few frames are held at once.
    """

    def decode(latents: Tensor) -> Tensor:
        at = f"decoding {window.name}"
        return guard("decode", at, partial(guard.editor.decode, latents.to(guard.editor.device))).float()

    for entry in plan["windows"]:
        window = Window(**entry)
        edited, effect, length = folder.window(window.index), folder.effect(window.index), len(window.new)
        for start in range(0, length, guard.editor.settings.frames):
            part = slice(start, min(start + guard.editor.settings.frames, length))
            source, made = folder.source(window.new[part]), edited[window.overlap :][part]
            before = decode(source)
            after = before if torch.equal(source, made) else decode(made)
            yield before, after, None if effect is None else to_floats(effect[:, -length:][:, part].to(before.device))


def finisher(
    request: EditRequest, before: Tensor, after: Tensor, effect: Tensor | None
) -> Callable[[int, Picture], tuple[Picture, Picture]]:
    """Gives source and result, uint8 (3, height, width), of a window's frame by its number and full-size picture."""
    if request.size == "model":
        sources, results = to_bytes(before).cpu().numpy(), to_bytes(after).cpu().numpy()
        return lambda number, rgb: (sources[number], results[number])
    maps = detail.plan(before, after, effect)

    def finish(number: int, rgb: Picture) -> tuple[Picture, Picture]:
        source = to_floats(torch.from_numpy(rgb.copy()).to(before.device))[None]
        result = detail.apply(source, maps.frame(number))
        return rgb, to_bytes(result)[0].cpu().numpy()

    return finish
