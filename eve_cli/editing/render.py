"""Finished windows become a video: decoded, brought to the wanted size, written with the source's times and sound."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eve_cli.editing.detail import transfer
from eve_cli.editing.fit import to_bytes, to_floats
from eve_cli.editing.folder import RunFolder
from eve_cli.editing.request import EditRequest
from eve_cli.editing.windows import Window
from eve_cli.media.clip import Frame
from eve_cli.models.editor import Editor


def render(
    request: EditRequest,
    plan: dict[str, Any],
    editor: Editor,
    folder: RunFolder,
    progress: Callable[[str, int, int], None],
) -> tuple[float, list[str]]:
    """Writes the result; gives its mean absolute difference to the source at the model's size, and notes to show."""
    from eve_cli.media.decode import VideoReader
    from eve_cli.media.encode import VideoWriter

    change, total = 0.0, plan["record"]["frames"]
    with VideoReader(request.input, request.start, request.end) as reader:
        writer = VideoWriter(
            str(request.output),
            like=reader.info,
            codec=request.codec,
            crf=0 if request.lossless else request.crf,
            overwrite=request.overwrite,
            metadata={"comment": json.dumps(plan["record"], sort_keys=True)},
        )
        with writer:
            pairs = small_pairs(plan, editor, folder)
            for number, (frame, (before, after)) in enumerate(zip(reader, pairs, strict=True)):
                change += float((after - before).abs().mean()) / total
                writer.write(finished(request, frame, before, after), frame.pts, frame.duration)
                progress("write", number + 1, total)
    return change, [*reader.report.warnings[len(reader.info.notes) :], *writer.notes]


def finished(request: EditRequest, frame: Frame, before: Tensor, after: Tensor) -> np.ndarray:
    """One frame of the result, uint8 (3, height, width)."""
    if request.size == "model":
        source, result = to_bytes(before).numpy(), to_bytes(after).numpy()
    else:
        source = frame.rgb
        full = to_floats(torch.from_numpy(source.copy()))
        result = to_bytes(transfer(full[None], before[None], after[None])[0]).numpy()
    if not request.side_by_side:
        return result
    from eve_cli.media.compose import side_by_side

    return side_by_side([source, result])


def small_pairs(plan: dict[str, Any], editor: Editor, folder: RunFolder) -> Iterator[tuple[Tensor, Tensor]]:
    """For each frame of the clip, in order: the codec's view of the source, and the edit, (3, h, w) in [0, 1]."""
    for entry in plan["windows"]:
        window = Window(**entry)
        source = folder.source(window.new)
        edited = folder.window(window.index)[window.overlap :]
        before = editor.decode(source.to(editor.device)).float().cpu()
        after = before if torch.equal(source, edited) else editor.decode(edited.to(editor.device)).float().cpu()
        yield from zip(before, after, strict=True)
