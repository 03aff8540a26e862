"""The parts of ASSD, one after the other, on held-out edits of the world: figure 5 of its paper as numbers.

    python benchmarks/assd.py [--each 2] [--steps 25] [--guidance-scale 4] [--captions true|derived] [--strips 7]
        [--out DIR]

Every row adds a part to the row above, from plain DDS of the video model on; rows behind "+ joint" are controls: the
noise smoothed as in the paper, the mask as its formula is printed, parts alone, DDS of the backbone, frame by frame,
and half of the learning rate, which is the default where the backbone's gradient is added. All rows see the same edits,
captions and noise. With --captions derived the caption of the result is derived from that of the source and the
instruction, as for a user; with `true` it is the world's own.

leak: mean change outside the edit, in levels of 255, against the source through the codec. The second table compares
each row with the one it builds on, edit by edit. All intervals are 95 % bootstrap intervals.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eve_cli.data.world.edits import RenderedEdit, WorldEdit, render_edit
from eve_cli.evaluation import strips, truth
from eve_cli.evaluation.alignment_table import COLUMNS, Column, HeldOutEdits, measure
from eve_cli.evaluation.statistics import bootstrap
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.options import ASSDOptions, DDSOptions
from eve_cli.methods.registry import METHODS
from eve_cli.methods.score_distillation import delta, image_scores, optimise
from eve_cli.models import attention
from eve_cli.models.editor import Editor

MEASURES = (*(c for c in COLUMNS if c.name not in ("ssim", "colour_bias")), Column("leak", -1, digits=2))
OFF: dict[str, Any] = {"sliding": "off", "fusion": 1.0, "joint": 0.0}
SLIDING = OFF | {"sliding": "error"}


@dataclass(frozen=True)
class Row:
    """A line of the table; `of` is the line that it is compared with."""

    name: str
    of: str = ""
    method: str = "assd"
    parts: dict[str, Any] = field(default_factory=dict)
    speed: float = 1.0
    """Of the learning rate."""
    frame_by_frame: bool = False


ROWS = (
    Row("source through the codec", method="copy"),
    Row("DDS", method="dds"),
    Row("+ sliding", "DDS", parts=SLIDING | {"mask": "off"}),
    Row("+ mask", "+ sliding", parts=SLIDING),
    Row("+ fusion", "+ mask", parts={"joint": 0.0}),
    Row("+ joint", "+ fusion"),
    Row("DDS + sliding noise", "DDS", parts=OFF | {"sliding": "noise", "mask": "off"}),
    Row("DDS + masked sliding noise", "DDS", parts=OFF | {"sliding": "noise"}),
    Row("DDS + sliding by printed mask", "+ mask", parts=SLIDING | {"mask": "printed"}),
    Row("DDS + fusion", "DDS", parts=OFF | {"fusion": 0.5}),
    Row("DDS + joint", "DDS", parts=OFF | {"joint": 1.0}),
    Row("DDS at half the rate", "DDS", method="dds", speed=0.5),
    Row("DDS + joint at half the rate", "DDS", parts=OFF | {"joint": 1.0}, speed=0.5),
    Row("ASSD at half the rate", "DDS", speed=0.5),
    Row("DDS frame by frame", "DDS", method="dds", frame_by_frame=True),
)


def edited(editor: Editor, row: Row, source: Tensor, edit: WorldEdit, seed: int, options: argparse.Namespace) -> Tensor:
    """The latents of a source as a row edits them."""
    if row.method == "copy":
        return source
    kind = DDSOptions if row.method == "dds" else ASSDOptions
    method_options = kind(source_caption=edit.source_caption, **row.parts)
    defaults = method_options.defaults(editor.settings)
    steps = options.steps or defaults["steps"]
    method_options = replace(method_options, rate=DDSOptions().rate_of(steps) * row.speed)
    guidance = Guidance(
        edit.instruction,
        edit.caption if options.captions == "true" else None,
        None,
        steps=steps,
        guidance_scale=defaults["guidance_scale"] if options.guidance_scale is None else options.guidance_scale,
        image_guidance_scale=1.0,
        seed=seed,
        options=method_options,
    )
    clip = Clip(source, source, range(len(source)), source[:0])
    if row.frame_by_frame:
        captions = method_options.captions(guidance.instruction, guidance.caption)
        gradient = delta(image_scores(editor, source, captions, guidance.guidance_scale))
        return optimise(editor, clip, gradient, seed, steps, method_options.rate_of(steps))
    return METHODS[row.method].load()().edit(editor, clip, guidance)


@contextmanager
def sharing(editor: Editor) -> Iterator[None]:
    """Caches the scores of the source, which are the same for all rows of the table."""
    cached: dict[tuple[float, ...], Tensor] = {}
    networks = {name: getattr(editor, name) for name in ("clean_video", "clean_image")}

    def shared(name: str) -> Callable[..., Tensor]:
        def clean(noisy: Tensor, t: Tensor, embeddings: Tensor, *further: Any) -> Tensor:
            if editor.video is not None and attention.is_modified(editor.video):  # by the fusion of attention
                return networks[name](noisy, t, embeddings, *further)
            rows = [each.unflatten(0, (2, 2, -1)) for each in (noisy, t, embeddings)]  # guided or not; edit, source
            key = (float(t[0]), float(rows[0][0, 1].sum()), len(noisy), ord(name[-1]))
            missing_rows = [each[:, :1] if key in cached else each for each in rows]
            output = networks[name](*(each.flatten(0, 2) for each in missing_rows), *further)
            output = output.unflatten(0, missing_rows[0].shape[:3])
            source = cached.setdefault(key, output[:, 1:])
            return torch.cat([output[:, :1], source], 1).flatten(0, 2)

        return clean

    try:
        for name in networks:
            setattr(editor, name, shared(name))
        yield
    finally:
        for name in networks:
            delattr(editor, name)


def measured(rendered: RenderedEdit, output: Tensor, untouched: Tensor) -> dict[str, float]:
    """Every column for one edit."""
    values = measure(rendered, output) | {"leak": truth.leak(rendered.source, rendered.edited, output, untouched)}
    return {name: float(value) for name, value in values.items()}


@torch.inference_mode()
def edit_missing(options: argparse.Namespace, rows: Sequence[Row], file: Path) -> None:
    """Appends what the file lacks, a line for each edit and row; keeps the first edits as pictures."""
    done = {(line["edit"], line["row"]) for line in lines(file)}
    editor = Editor.load(options.model, dtype=getattr(torch, options.dtype)).optimize_for_inference()
    for number, edit in enumerate(HeldOutEdits(each=options.each, seed=options.seed).edits()):
        rendered = render_edit([edit], editor.settings.frames, editor.settings.pixels, truth=True)
        source = editor.encode(rendered.source[0]).float()
        clips = [rendered.source[0]]
        with sharing(editor):
            for row in rows:
                latents_file = file.parent / f"{number}-{row.name.replace(' ', '-')}.pt"
                if (number, row.name) not in done:
                    latents = edited(editor, row, source, edit, number, options)
                    output, untouched = (editor.decode(each)[None].float() for each in (latents, source))
                    values = measured(rendered, output, untouched)
                    torch.save(latents.half(), latents_file)
                    with file.open("a") as out:
                        out.write(json.dumps({"edit": number, "task": edit.task, "row": row.name, **values}) + "\n")
                    print(number, edit.task, row.name, file=sys.stderr, flush=True)
                if number < options.strips:
                    clips.append(editor.decode(torch.load(latents_file).float()).float())
        if number < options.strips:
            picture = file.parent / f"{number:03d}-{edit.task}.png"
            strips.save(picture, [*clips, rendered.edited[0]])
            texts = "\n".join([edit.instruction, edit.source_caption, edit.caption, *(row.name for row in rows)])
            picture.with_suffix(".txt").write_text(texts + "\n", encoding="utf-8")


def lines(file: Path) -> list[dict[str, Any]]:
    """What was measured so far."""
    return [json.loads(line) for line in file.read_text().split("\n") if line] if file.is_file() else []


def table(recorded: list[dict[str, Any]], rows: Sequence[Row]) -> str:
    """Means with intervals, over the edits that all rows have; then paired differences."""
    by = {(line["edit"], line["row"]): line for line in recorded}
    edits = [n for n in sorted({edit for edit, _ in by}) if all((n, row.name) in by for row in rows)]
    values = {
        (row.name, c.name): torch.tensor([by[n, row.name][c.name] for n in edits]) for row in rows for c in MEASURES
    }
    head = [f"{c.name}{f' x{c.scale:.0f}' if c.scale != 1 else ''} {'↑' if c.better > 0 else '↓'}" for c in MEASURES]
    out = [f"{len(edits)} edits", "", f"| | {' | '.join(head)} |", "|---|" + "---|" * len(MEASURES)]
    for row in rows:
        cells = [interval_text(bootstrap(values[row.name, c.name] * c.scale), c) for c in MEASURES]
        out.append(f"| {row.name} | {' | '.join(cells)} |")
    out += ["", f"| difference | {' | '.join(head)} |", "|---|" + "---|" * len(MEASURES)]
    for row in rows:
        if row.of in {each.name for each in rows}:
            pairs = ((values[row.name, c.name] - values[row.of, c.name], c) for c in MEASURES)
            cells = [interval_text(bootstrap(pair * c.scale), c, signed=True) for pair, c in pairs]
            out.append(f"| {row.name} against {row.of} | {' | '.join(cells)} |")
    return "\n".join(out)


def interval_text(interval: tuple[float, float, float], column: Column, signed: bool = False) -> str:
    """A mean with its interval; a difference that is clear of zero with an arrow, up where it is better."""
    mean, low, high = interval
    sign = "" if not signed or low <= 0 <= high else " ▲" if (mean > 0) == (column.better > 0) else " ▼"
    form = f"{'+' if signed else ''}.{column.digits}f"
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]{sign}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--each", type=int, default=2, help="edits of each of seven tasks")
    parser.add_argument("--seed", type=int, default=0, help="which held-out edits")
    parser.add_argument("--steps", type=int, help="updates (default: the method's for the model)")
    parser.add_argument("--guidance-scale", type=float, help="guidance (default: the method's for the model)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the networks")
    parser.add_argument("--captions", choices=("true", "derived"), default="true")
    parser.add_argument("--rows", default="", help="some rows, with commas")
    parser.add_argument("--strips", type=int, default=7, help="edits to show as pictures")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-assd"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    names = options.rows.split(",") if options.rows else [row.name for row in ROWS]
    rows = [row for row in ROWS if row.name in names]
    edit_missing(options, rows, options.out / "values.jsonl")
    print(table(lines(options.out / "values.jsonl"), rows))


if __name__ == "__main__":
    main()
