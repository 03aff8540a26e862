"""The effect of alignment: EVE's Table 2 on held-out edits of the world, whose true result is known."""

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

FIRST_SEED = 2**41  # of held-out scenes; training uses lower ones
BATCH = 8  # clips rendered together


@dataclass(frozen=True)
class Column:
    """A column of the table: how it is formatted, and the better direction (1 up, -1 down)."""

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
class TableRow:
    """A row of the table: a method with a model, or a filter applied to the clips of another row."""

    name: str
    method: str = "eve"
    model: str = ""
    aligned: bool = False
    options: MethodOptions | None = None
    of: str = ""
    after: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class HeldOutEdits:
    """The held-out edits: number per task, length and size."""

    tasks: tuple[str, ...] = ALIGNED_TASKS
    each: int = 40
    frames: int = 8
    side: int = 64
    seed: int = 0
    guidance: Mapping[str, float] = field(default_factory=dict)

    def edits(self) -> list[WorldEdit]:
        """The edits, deterministic; their scenes occur in no training."""
        return [
            sample_edit(FIRST_SEED + 200_000 + self.seed * 100_000 + i * len(self.tasks) + j, task, held_out=None)
            for i in range(self.each)
            for j, task in enumerate(self.tasks)
        ]


def rows(base: str, unaligned: str, aligned: Mapping[str, str]) -> list[TableRow]:
    """The rows of the table: baselines, controls, and every aligned model by name.

    `base` is the model whose adapters are used, `unaligned` the name of its row; the controls smooth its clips, since
    smoothing alone improves the temporal metrics.
    """
    return [
        TableRow("input copied", "copy", base),
        TableRow("per frame", "per_frame", base),
        TableRow("per frame, one noise", "per_frame", base, options=PerFrameOptions(shared_noise=True)),
        TableRow(unaligned, "eve", base),
        TableRow(f"{unaligned}, blurred by 0.7 px", of=unaligned, after=blurred),
        TableRow(f"{unaligned}, blurred in time", of=unaligned, after=blurred_in_time),
        *(TableRow(name, "eve", model, aligned=True) for name, model in aligned.items()),
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


def measure(rendered: RenderedEdit, output: Tensor) -> dict[str, Tensor]:
    """Every column of output clips (n, frames, 3, h, w), (n,) each."""
    flow, visible = rendered.after.flow, rendered.after.visible
    assert flow is not None and visible is not None
    source, target = rendered.source, rendered.edited
    return {
        "edit_acc": truth.edit_acc(source, target, output),
        "bg_psnr": truth.bg_psnr(source, target, output),
        "ssim": truth.ssim(target, output),
        "warp_excess": truth.warp_excess(target, output, flow, visible),
        "flicker": truth.flicker(target, output, flow, visible),
        "colour_bias": truth.colour_bias(source, target, output),
        "success": truth.success(source, target, output, flow, visible).float(),
    }


@torch.no_grad()
def edit(
    editor: Editor, row: TableRow, rendered: RenderedEdit, edits: Sequence[WorldEdit], first: int, scales: dict
) -> Tensor:
    """The clips of one row, edited from the instruction alone; the noise depends on the number of the edit only."""
    method = METHODS[row.method].load()()
    outputs = []
    for i, world_edit in enumerate(edits):
        source = editor.encode(rendered.source[i])
        control_image = source if editor.settings.control_image == "latents" else rendered.source[i]
        guidance = Guidance(world_edit.instruction, None, None, seed=first + i, options=row.options, **scales)
        clip = Clip(source, control_image, range(len(source)), source[:0])
        copied = row.method == "copy"
        outputs.append(rendered.source[i] if copied else editor.decode(method.edit(editor, clip, guidance)))
    return torch.stack(outputs).float().cpu()


def table(
    rows: Sequence[TableRow],
    held_out: HeldOutEdits,
    steps: int,
    folder: Path,
    progress: Callable[[str, int, int], None] = lambda name, done, of: None,
    keep: dict[str, Tensor] | None = None,
) -> dict[str, dict[str, list[float]]]:
    """The values of every column for every edit, by row; rows that the folder already has are read from it.

    `keep` receives the clips of each row, for pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    edits = held_out.edits()
    missing = [row for row in rows if keep is not None or not _file(folder, row, steps).is_file()]
    filtered = {row.of for row in missing}
    outputs: dict[str, list[Tensor]] = {}
    for row in [row for row in rows if row in missing or row.name in filtered]:
        values: dict[str, list[float]] = {column.name: [] for column in COLUMNS}
        editor = None if row.of else load_editor(row)
        scales = {"steps": steps} if editor is None else _scales(editor, steps, held_out.guidance)
        clips = []
        for start, rendered in render_batches(edits, held_out):
            batch = edits[start : start + BATCH]
            if row.of:
                assert row.after is not None
                output = row.after(outputs[row.of][start // BATCH].float())
            else:
                assert editor is not None
                output = edit(editor, row, rendered, batch, start, scales)
            clips.append(output.half())
            for name, value in measure(rendered, output).items():
                values[name] += value.tolist()
            progress(row.name, start + len(batch), len(edits))
        if row.name in filtered:
            outputs[row.name] = clips
        if keep is not None:
            keep[row.name] = torch.cat(clips).float()
        _file(folder, row, steps).write_text(json.dumps(values))
    results = {}
    for row in rows:
        results[row.name] = json.loads(_file(folder, row, steps).read_text())
        if any(len(v) != len(edits) for v in results[row.name].values()):
            raise InputError(f"{_file(folder, row, steps)} belongs to another test: choose another --out.")
    return results


def load_editor(row: TableRow) -> Editor:
    """The model of a row."""
    parts = bundle.load(bundle.resolve(row.model))
    if not row.aligned:
        parts.align = None
    parts.channels_last()
    return Editor(parts)


def render_batches(edits: Sequence[WorldEdit], held_out: HeldOutEdits) -> Iterator[tuple[int, RenderedEdit]]:
    """The edits rendered in batches, each with the number of its first."""
    for start in range(0, len(edits), BATCH):
        yield start, render_edit(edits[start : start + BATCH], held_out.frames, held_out.side, truth=True)


def _scales(editor: Editor, steps: int, guidance: Mapping[str, float]) -> dict:
    model_scales = {
        "guidance_scale": editor.settings.guidance_scale,
        "image_guidance_scale": editor.settings.image_guidance_scale,
    }
    return {"steps": steps} | model_scales | dict(guidance)


def _file(folder: Path, row: TableRow, steps: int) -> Path:
    name = "".join(c if c.isalnum() else "-" for c in row.name)
    return folder / f"{name}.{steps}.json"


@dataclass(frozen=True)
class Difference:
    """A row against another: the mean difference with its interval."""

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


def compare(values: Mapping[str, Mapping[str, Sequence[float]]], name: str, other: str) -> dict[str, Difference]:
    """Paired differences of two rows, edit by edit, with 95 % bootstrap intervals (every edit has its own scene)."""
    out = {}
    for column in COLUMNS:
        a, b = (np.array(values[row][column.name]) for row in (name, other))
        mean, low, high = bootstrap((a - b) * column.scale)
        out[column.name] = Difference(mean, low, high, column.better)
    return out


def markdown(values: Mapping[str, Mapping[str, Sequence[float]]], reference: str) -> str:
    """The table: mean and interval; a mark where the interval of the paired difference excludes zero."""
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
