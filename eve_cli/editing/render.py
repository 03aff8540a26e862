"""Finished windows become a video: decoded, brought to the wanted size, written with the source's times and sound."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from eve_cli.editing import detail
from eve_cli.editing.fit import to_bytes, to_floats
from eve_cli.editing.folder import RunFolder
from eve_cli.editing.request import EditRequest
from eve_cli.editing.windows import Window
from eve_cli.errors import InputError
from eve_cli.media.clip import Picture

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor

METADATA_KEY = "comment"


def render(
    request: EditRequest,
    plan: dict[str, Any],
    editor: Editor,
    folder: RunFolder,
    progress: Callable[[str, int, int], None],
) -> tuple[float, list[str]]:
    """Writes the result; gives its mean absolute difference to the source at the model's size, and notes to show."""
    from eve_cli.media.compose import side_by_side
    from eve_cli.media.decode import VideoReader
    from eve_cli.media.encode import VideoWriter

    change, done, total = 0.0, 0, plan["record"]["frames"]
    with VideoReader(request.input, request.start, request.end) as reader:
        writer = VideoWriter(
            str(request.output),
            like=reader.info,
            codec=request.codec,
            crf=0 if request.lossless else request.crf,
            overwrite=request.overwrite,
            metadata={METADATA_KEY: json.dumps(plan["record"], sort_keys=True)},
        )
        with writer:
            frames = iter(reader)
            for before, after in small_pairs(plan, editor, folder):
                change += float((after - before).abs().mean()) * len(after) / total
                finish = _finisher(request, before, after)
                for number in range(len(after)):
                    frame = next(frames, None)
                    if frame is None:
                        raise InputError(f"{request.input}: ended at frame {done}, earlier than before; edit it again.")
                    shown = list(finish(number, frame.rgb))
                    rgb = side_by_side(shown) if request.side_by_side else shown[-1]
                    writer.write(rgb, frame.pts, frame.duration)
                    done += 1
                    progress("write", done, total)
    return change, [*reader.report.warnings[len(reader.info.notes) :], *writer.notes]


def small_pairs(plan: dict[str, Any], editor: Editor, folder: RunFolder) -> Iterator[tuple[Tensor, Tensor]]:
    """For each window, its new frames (f, 3, h, w) in [0, 1]: as the codec shows the source, and edited."""
    for entry in plan["windows"]:
        window = Window(**entry)
        source = folder.source(window.new)
        edited = folder.window(window.index)[window.overlap :]
        before = editor.decode(source.to(editor.device)).float()
        same = torch.equal(source, edited)
        yield before, before if same else editor.decode(edited.to(editor.device)).float()


def _finisher(request: EditRequest, before: Tensor, after: Tensor) -> Callable[[int, Picture], tuple[Picture, Picture]]:
    """Gives source and result, uint8 (3, height, width), of a window's frame by its number and full-size picture."""
    if request.size == "model":
        sources, results = to_bytes(before).cpu().numpy(), to_bytes(after).cpu().numpy()
        return lambda number, rgb: (sources[number], results[number])
    maps = detail.plan(before, after)

    def finish(number: int, rgb: Picture) -> tuple[Picture, Picture]:
        source = to_floats(torch.from_numpy(rgb.copy()).to(before.device))[None]
        result = detail.apply(source, maps.frame(number))
        return rgb, to_bytes(result)[0].cpu().numpy()

    return finish
