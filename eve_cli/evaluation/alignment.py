"""How much alignment is worth: EVE's Table 2 in the world, where the right answer is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eve_cli.data.world.edits import ALIGNED_TASKS, RenderedEdit, WorldEdit, render_edit, sample_edit
from eve_cli.errors import InputError
from eve_cli.evaluation import truth
from eve_cli.evaluation.statistics import bootstrap
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.options import MethodOptions, PerFrameOptions
from eve_cli.methods.registry import METHODS
from eve_cli.models import bundle
from eve_cli.models.editor import Editor

HELD = 2**41  # seeds from here on are drawn by no training
AT_ONCE = 8  # clips rendered together
Made = Mapping[str, Tensor]


@dataclass(frozen=True)
class Column:
    """A measure of the table: how it is shown, and which way is better (1 up, -1 down)."""

    name: str
    better: int
    scale: float = 1.0
    digits: int = 3


COLUMNS = (
    Column("edit_acc", 1),
    Column("bg_psnr", 1, digits=2),
    Column("ssim", 1),
    Column("warp_excess", -1, 1000, 2),
    Column("flicker", -1, 100, 2),
    Column("colour_bias", -1, digits=2),
    Column("success", 1),
)


@dataclass(frozen=True)
class Row:
    """A line of the table: a method with a model, or something done to the frames of another line."""

    name: str
    method: str = "eve"
    model: str = ""
    aligned: bool = False
    options: MethodOptions | None = None
    of: str = ""
    after: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Test:
    """The held-out edits: how many a task, and of which length and size."""

    tasks: tuple[str, ...] = ALIGNED_TASKS
    each: int = 40
    frames: int = 8
    side: int = 64
    seed: int = 0
    guidance: Mapping[str, float] = field(default_factory=dict)

    def edits(self) -> list[WorldEdit]:
        """The same for the same numbers; their scenes are drawn by no training."""
        return [
            sample_edit(HELD + 200_000 + self.seed * 100_000 + i * len(self.tasks) + j, task, held_out=None)
            for i in range(self.each)
            for j, task in enumerate(self.tasks)
        ]


def rows(base: str, unaligned: str, aligned: Mapping[str, str]) -> list[Row]:
    """The table's lines: base lines, controls, and every aligned model by its name.

    `base` is the model whose adapters are used, `unaligned` its line's name; the controls smooth its frames, since
    smoothing alone lowers what is measured in time.
    """
    return [
        Row("input copied", "copy", base),
        Row("per frame", "per_frame", base),
        Row("per frame, one noise", "per_frame", base, options=PerFrameOptions(shared_noise=True)),
        Row(unaligned, "eve", base),
        Row(f"{unaligned}, blurred by 0.7 px", of=unaligned, after=blurred),
        Row(f"{unaligned}, blurred in time", of=unaligned, after=blurred_in_time),
        *(Row(name, "eve", model, aligned=True) for name, model in aligned.items()),
    ]


def blurred(clips: Tensor, sigma: float = 0.7) -> Tensor:
    """Clips (n, frames, 3, h, w) under a Gaussian of `sigma` pixels."""
    reach = torch.arange(-2.0, 3.0)
    kernel = torch.exp(-reach.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(clips)
    flat = clips.flatten(0, 2).unsqueeze(1)
    flat = F.conv2d(F.pad(flat, (2, 2, 0, 0), mode="replicate"), kernel.view(1, 1, 1, 5))
    flat = F.conv2d(F.pad(flat, (0, 0, 2, 2), mode="replicate"), kernel.view(1, 1, 5, 1))
    return flat.view(clips.shape)


def blurred_in_time(clips: Tensor) -> Tensor:
    """Clips (n, frames, 3, h, w) under a (1, 2, 1) / 4 mean over frames."""
    longer = torch.cat([clips[:, :1], clips, clips[:, -1:]], 1)
    return (longer[:, :-2] + 2 * longer[:, 1:-1] + longer[:, 2:]) / 4


def measure(drawn: RenderedEdit, made: Tensor) -> dict[str, Tensor]:
    """Every column for clips (n, frames, 3, h, w), (n,) each."""
    flow, seen = drawn.after.flow, drawn.after.visible
    assert flow is not None and seen is not None
    told = {
        "edit_acc": truth.edit_acc(drawn.source, drawn.edited, made),
        "bg_psnr": truth.bg_psnr(drawn.source, drawn.edited, made),
        "ssim": truth.ssim(drawn.edited, made),
        "warp_excess": truth.warp_excess(drawn.edited, made, flow, seen),
        "flicker": truth.flicker(drawn.edited, made, flow, seen),
        "colour_bias": truth.colour_bias(drawn.source, drawn.edited, made),
    }
    return told | {"success": truth.success(drawn.source, drawn.edited, made, flow, seen).float()}


@torch.no_grad()
def edit(editor: Editor, row: Row, drawn: RenderedEdit, edits: Sequence[WorldEdit], first: int, guide: dict) -> Tensor:
    """Clips made by one line of the table, from the instruction alone; noise depends on the edit's number alone."""
    method = METHODS[row.method].load()()
    made = []
    for i, asked in enumerate(edits):
        source = editor.encode(drawn.source[i])
        control_image = source if editor.settings.control_image == "latents" else drawn.source[i]
        guidance = Guidance(asked.instruction, None, None, seed=first + i, options=row.options, **guide)
        clip = Clip(source, control_image, range(len(source)), source[:0])
        made.append(drawn.source[i] if row.method == "copy" else editor.decode(method.edit(editor, clip, guidance)))
    return torch.stack(made).float().cpu()


def table(
    lines: Sequence[Row],
    test: Test,
    steps: int,
    folder: Path,
    progress: Callable[[str, int, int], None] = lambda name, done, of: None,
    keep: dict[str, Tensor] | None = None,
) -> dict[str, dict[str, list[float]]]:
    """The values of every column for every edit, by line; lines that the folder holds already are read from it.

    `keep` receives the clips of each line, for pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    edits, found = test.edits(), {}
    missing = [row for row in lines if keep is not None or not _file(folder, row, steps).is_file()]
    sources = {row.of for row in missing}
    made_by: dict[str, list[Tensor]] = {}
    for row in [row for row in lines if row in missing or row.name in sources]:
        values: dict[str, list[float]] = {column.name: [] for column in COLUMNS}
        editor = None if row.of else opened(row)
        guide = {"steps": steps} if editor is None else _guide(editor, steps, test.guidance)
        clips = []
        for start, drawn in drawings(edits, test):
            part = edits[start : start + AT_ONCE]
            if row.of:
                assert row.after is not None
                made = row.after(made_by[row.of][start // AT_ONCE].float())
            else:
                assert editor is not None
                made = edit(editor, row, drawn, part, start, guide)
            clips.append(made.half())
            for name, value in measure(drawn, made).items():
                values[name] += value.tolist()
            progress(row.name, start + len(part), len(edits))
        if row.name in sources:
            made_by[row.name] = clips
        if keep is not None:
            keep[row.name] = torch.cat(clips).float()
        _file(folder, row, steps).write_text(json.dumps(values))
    for row in lines:
        found[row.name] = json.loads(_file(folder, row, steps).read_text())
        if any(len(v) != len(edits) for v in found[row.name].values()):
            raise InputError(f"{_file(folder, row, steps)} is of another test: give another --out.")
    return found


def opened(row: Row) -> Editor:
    """The model of a line."""
    parts = bundle.load(bundle.resolve(row.model))
    if not row.aligned:
        parts.align = None
    parts.channels_last()
    return Editor(parts)


def drawings(edits: Sequence[WorldEdit], test: Test) -> Iterator[tuple[int, RenderedEdit]]:
    """The edits drawn, some at a time, with the number of the first."""
    for start in range(0, len(edits), AT_ONCE):
        yield start, render_edit(edits[start : start + AT_ONCE], test.frames, test.side, truth=True)


def _guide(editor: Editor, steps: int, given: Mapping[str, float]) -> dict:
    own = {
        "guidance_scale": editor.settings.guidance_scale,
        "image_guidance_scale": editor.settings.image_guidance_scale,
    }
    return {"steps": steps} | own | dict(given)


def _file(folder: Path, row: Row, steps: int) -> Path:
    name = "".join(c if c.isalnum() else "-" for c in row.name)
    return folder / f"{name}.{steps}.json"


@dataclass(frozen=True)
class Compared:
    """A line against another: the mean difference with its interval, and whether it is clear of zero."""

    mean: float
    low: float
    high: float
    better: int

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `tie`."""
        if not (self.low > 0 or self.high < 0):
            return "tie"
        return "better" if (self.mean > 0) == (self.better > 0) else "worse"


def compare(values: Mapping[str, Mapping[str, Sequence[float]]], name: str, other: str) -> dict[str, Compared]:
    """Paired differences of two lines, edit by edit, with 95 % bootstrap intervals (every edit has its own scene)."""
    out = {}
    for column in COLUMNS:
        a, b = (np.array(values[row][column.name]) for row in (name, other))
        mean, low, high = bootstrap((a - b) * column.scale)
        out[column.name] = Compared(mean, low, high, column.better)
    return out


def markdown(values: Mapping[str, Mapping[str, Sequence[float]]], reference: str) -> str:
    """The table: mean and interval; an arrow where the paired difference from the reference is clear of zero."""
    head = [
        "",
        *(f"{c.name}{f' x{c.scale:.0f}' if c.scale != 1 else ''} {'↑' if c.better > 0 else '↓'}" for c in COLUMNS),
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, row in values.items():
        against = compare(values, name, reference) if name != reference and reference in values else {}
        cells = [name]
        for column in COLUMNS:
            mean, low, high = bootstrap(np.array(row[column.name]) * column.scale)
            sign = {"better": " ▲", "worse": " ▼"}.get(against[column.name].verdict, "") if against else ""
            d = column.digits
            cells.append(f"{mean:.{d}f} [{low:.{d}f}, {high:.{d}f}]{sign}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
