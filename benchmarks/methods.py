"""All editing methods beside each other: held-out edits of the world, whose truth is known, and what each costs.

    python benchmarks/methods.py [--each 2] [--rows "eve;pnp"] [--some "assd=7"] [--strips 7] [--out runs/methods]

Every row edits the same clips from noise of the same seeds, with its own defaults. Methods with an edit adapter read
the instruction only, the others the world's own captions of source and result: more than a user gives. Rows of --some
make that many of the edits. Intervals are 95 % bootstraps; ▲ and ▼ are paired differences from `eve`, edit by edit,
that exclude zero. Edits that are in --out are not repeated.

calls, operations   of networks for one clip (a multiply-add is two), counted on meta tensors.
memory              peak bytes of activations, counted likewise, without the weights, on any device.
seconds             of processor time for a clip, measured, fine-tuning included.

--returns 3 measures how well clips are reconstructed from their inverted noise: the error (latents have a deviation of
about one) by steps and corrections, and in brackets the deviation of the noise.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eve_cli.data.world.edits import WorldEdit, render_edit
from eve_cli.diffusion.inversion import invert
from eve_cli.diffusion.samplers import ddim
from eve_cli.estimate.cost_model import finetuning_cost
from eve_cli.estimate.flops import Cost, count, meta_copy
from eve_cli.evaluation import strips
from eve_cli.evaluation.alignment_table import COLUMNS, Column, HeldOutEdits, measure
from eve_cli.evaluation.statistics import bootstrap
from eve_cli.methods.base import Clip, EditMethod, Guidance
from eve_cli.methods.finetune import FinetuningMethod
from eve_cli.methods.registry import METHODS
from eve_cli.models.editor import Editor


@dataclass(frozen=True)
class Row:
    """A line of the tables: a method, with options other than its own defaults."""

    name: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def reads(self) -> str:
        """What it reads."""
        return METHODS[self.method].reads

    @property
    def editing_method(self) -> EditMethod:
        """The method."""
        return METHODS[self.method].load()()

    def guidance(self, editor: Editor, edit: WorldEdit, seed: int) -> Guidance:
        """Its settings for an edit."""
        kind, captions = METHODS[self.method].options, self.reads == "captions"
        captioned = {"source_caption": edit.source_caption} if "source_caption" in kind.__dataclass_fields__ else {}
        options = kind(**captioned, **self.options)
        defaults = options.defaults(editor.settings)
        return Guidance(
            instruction=edit.instruction,
            caption=edit.caption if captions else None,
            task=None,
            steps=defaults["steps"],
            guidance_scale=defaults["guidance_scale"],
            image_guidance_scale=defaults["image_guidance_scale"],
            seed=seed,
            options=options,
        )


EXTRA = {
    "per_frame": [Row("per_frame, one noise", "per_frame", {"shared_noise": True})],
    "dreamix": [Row("dreamix, preset motion", "dreamix", {"preset": "motion"})],
}
MINI_OPTIONS = {"dreamix": {"preset": "object"}}
"""Defaults that `eve edit` chooses for `mini`."""
ROWS = [row for name in METHODS for row in (Row(name, name, MINI_OPTIONS.get(name, {})), *EXTRA.get(name, []))]


PAIRS = (
    ("fairy", "per_frame, one noise"),
    ("per_frame, one noise", "per_frame"),
    ("tokenflow", "pnp"),
    ("tune_a_video", "inversion"),
)
HEAD = " | ".join(
    f"{c.name}{f' x{c.scale:.0f}' if c.scale != 1 else ''} {'↑' if c.better > 0 else '↓'}" for c in COLUMNS
)
CORRECTIONS = (0, 1, 2)


def clip_of(source: Tensor) -> Clip:
    return Clip(source, source, range(len(source)), source[:0])


def edit_missing(editor: Editor, test: HeldOutEdits, rows: Sequence[Row], some: dict[str, int], folder: Path) -> None:
    """Edits what the folder lacks; a line of values for each edit, and its latents."""
    file = folder / "values.jsonl"
    done = {(line["edit"], line["row"]) for line in lines(file)}
    for number, edit in enumerate(test.edits()):
        missing = [r for r in rows if (number, r.name) not in done and number < some.get(r.name, math.inf)]
        if not missing:
            continue
        rendered = render_edit([edit], test.frames, test.side, truth=True)
        source = editor.encode(rendered.source[0])
        for row in missing:
            started = time.process_time()
            latents = row.editing_method.edit(editor, clip_of(source), row.guidance(editor, edit, number))
            seconds = time.process_time() - started
            output = rendered.source[0] if row.method == "copy" else editor.decode(latents).float()
            values = {"edit": number, "task": edit.task, "row": row.name, "seconds": seconds}
            values |= {name: float(value) for name, value in measure(rendered, output[None]).items()}
            torch.save(latents.half(), folder / f"{number}.{row.name}.pt")
            with file.open("a") as out:
                out.write(json.dumps(values) + "\n")
            print(number, edit.task, row.name, f"{seconds:.1f} s", file=sys.stderr, flush=True)


def lines(file: Path) -> list[dict[str, Any]]:
    """What was measured so far."""
    return [json.loads(line) for line in file.read_text().split("\n") if line] if file.is_file() else []


def table(values: Sequence[dict[str, Any]], rows: Sequence[Row], reference: str) -> str:
    """Means with intervals, marked where the paired difference from the reference is clear of zero."""
    by = {(line["edit"], line["row"]): line for line in values}
    out = [f"| | reads | edits | {HEAD} |", "|---|" + "---|" * (len(COLUMNS) + 2)]
    for row in rows:
        row_values = [line for line in values if line["row"] == row.name]
        cells = []
        for c in COLUMNS:
            mean, low, high = bootstrap(torch.tensor([line[c.name] for line in row_values]) * c.scale)
            mark = "" if row.name == reference else change(by, row.name, reference, c)[1]
            cells.append(f"{mean:.{c.digits}f} [{low:.{c.digits}f}, {high:.{c.digits}f}]{mark}")
        out.append(f"| {row.name} | {row.reads} | {len(row_values)} | {' | '.join(cells)} |")
    return "\n".join(out)


def differences(values: Sequence[dict[str, Any]]) -> str:
    """What a method adds to the one that it is built on, over the edits that both have."""
    by = {(line["edit"], line["row"]): line for line in values}
    out = [f"| | {HEAD} |", "|---|" + "---|" * len(COLUMNS)]
    for name, base in PAIRS:
        if {name, base} <= {row for _, row in by}:
            cells = ("".join(change(by, name, base, c)) for c in COLUMNS)
            out.append(f"| {name} against {base} | {' | '.join(cells)} |")
    return "\n".join(out)


def change(by: dict[tuple[int, str], dict[str, Any]], name: str, base: str, c: Column) -> tuple[str, str]:
    """The mean paired difference in a column with its interval; an arrow where it is clear of zero, up for better."""
    pairs = [(by[edit, name][c.name], by[edit, base][c.name]) for edit, row in by if row == name and (edit, base) in by]
    mean, low, high = bootstrap(torch.tensor([a - b for a, b in pairs]) * c.scale)
    mark = "" if not low * high > 0 else " ▲" if (mean > 0) == (c.better > 0) else " ▼"
    return f"{mean:+.{c.digits}f} [{low:+.{c.digits}f}, {high:+.{c.digits}f}]", mark


def cost(editor: Editor, row: Row, edit: WorldEdit, frames: int) -> tuple[Cost, Cost]:
    """What learning and editing a clip costs, counted without content."""
    meta_editor, method = meta_copy(editor), row.editing_method
    guidance, side = row.guidance(editor, edit, 0), editor.settings.pixels
    channels: Any = editor.parts.vae.config["latent_channels"]
    source = torch.zeros(frames, channels, *editor.latent_size(side, side), device=meta_editor.device)
    tuning_cost = Cost()
    if isinstance(method, FinetuningMethod) and (tuning := method.tuning(guidance)).steps:
        tuning_cost = finetuning_cost(meta_editor, source, tuning)
    return tuning_cost, count(meta_editor, lambda: method.edit(meta_editor, clip_of(source), guidance))


def costs(editor: Editor, rows: Sequence[Row], edit: WorldEdit, values: Sequence[dict[str, Any]], frames: int) -> str:
    """The table of costs."""
    out = ["| | steps | calls | operations | memory | seconds |", "|---|" + "---|" * 5]
    for row in rows:
        learning, editing = cost(editor, row, edit, frames)
        total = learning + editing
        seconds = [line["seconds"] for line in values if line["row"] == row.name]
        steps = row.guidance(editor, edit, 0).steps if editing.calls else 0
        calls = f"{editing.calls}" + (f" + {learning.calls} learning" if learning.calls else "")
        mean = f"{sum(seconds) / len(seconds):.1f}" if seconds else ""
        out.append(
            f"| {row.name} | {steps} | {calls} | {total.flops / 1e9:.0f} G | {total.bytes / 1e6:.0f} MB | {mean} |"
        )
    return "\n".join(out)


def show(editor: Editor, test: HeldOutEdits, rows: Sequence[Row], numbers: Sequence[int], folder: Path) -> None:
    """A picture for each of some edits: source, the rows in order, truth."""
    for number in numbers:
        edit = test.edits()[number]
        rendered, clips, names = render_edit([edit], test.frames, test.side), [], []
        for row in rows:
            latents_file = folder / f"{number}.{row.name}.pt"
            if latents_file.is_file() and row.method != "copy":
                clips.append(editor.decode(torch.load(latents_file).float()))
                names.append(row.name)
        file = folder / f"{number:03d}-{edit.task}.png"
        strips.save(file, [rendered.source[0], *clips, rendered.edited[0]])
        captions = [edit.instruction, f"{edit.source_caption} -> {edit.caption}", "source", *names, "truth"]
        file.with_suffix(".txt").write_text("\n".join(captions) + "\n", encoding="utf-8")


def returns(editor: Editor, test: HeldOutEdits, clips: int) -> str:
    """How far from the source inversion and sampling by the source's caption come, by steps and corrections."""
    out = ["| | " + " | ".join(f"{c} corrections" for c in CORRECTIONS) + " |", "|---|" + "---|" * len(CORRECTIONS)]
    edits = test.edits()[:clips]
    sources = editor.encode(render_edit(edits, test.frames, test.side).source.flatten(0, 1)).unflatten(0, (clips, -1))
    for steps in (10, 20):
        for name, schedule in (("backbone", editor.image_schedule), ("video model", editor.schedule)):
            cells = []
            for corrections in CORRECTIONS:
                errors = []
                for edit, source in zip(edits, sources, strict=True):
                    text, times = editor.embed([edit.source_caption]), schedule.trailing(steps)
                    video = name != "backbone"
                    denoise = (
                        editor.guided_video(text, None, guidance_scale=1.0) if video else editor.guided_image(text, 1.0)
                    )
                    clean = source[None] if video else source
                    path = invert(denoise, schedule, clean, times, corrections=corrections)
                    error = float((ddim(denoise, schedule, path[0], times) - clean).square().mean().sqrt())
                    errors.append((error, float(path[0].std())))
                error, spread = (sum(part) / clips for part in zip(*errors, strict=True))
                cells.append(f"{error:.3f} ({spread:.2f})")
            out.append(f"| {name}, {steps} steps | {' | '.join(cells)} |")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--each", type=int, default=2, help="edits of each of seven tasks")
    parser.add_argument("--seed", type=int, default=0, help="which held-out edits")
    parser.add_argument("--rows", default="", help="some rows, with semicolons")
    parser.add_argument("--some", default="", help="rows that make some of the edits alone, as tune_a_video=7;assd=7")
    parser.add_argument("--strips", type=int, default=7, help="edits to show as pictures")
    parser.add_argument("--returns", type=int, default=0, help="only see how well inversion returns so many clips")
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [row for row in ROWS if not options.rows or row.name in options.rows.split(";")]
    some = {name: int(number) for name, number in (item.split("=") for item in filter(None, options.some.split(";")))}
    torch.set_flush_denormal(True)
    editor = Editor.load(options.model).optimize_for_inference()
    test = HeldOutEdits(
        each=options.each, frames=editor.settings.frames, side=editor.settings.pixels, seed=options.seed
    )
    if options.returns:
        with torch.inference_mode():
            return print(returns(editor, test, options.returns))
    with torch.inference_mode():
        edit_missing(editor, test, rows, some, options.out)
        show(editor, test, rows, range(min(options.strips, len(test.edits()))), options.out)
    values = lines(options.out / "values.jsonl")
    edit = test.edits()[0]
    tables = [table(values, rows, "eve"), differences(values), costs(editor, rows, edit, values, test.frames)]
    (options.out / "tables.md").write_text("\n\n".join(tables) + "\n", encoding="utf-8")
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
