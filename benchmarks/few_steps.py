"""The aligned student in a few steps beside the same adapters unaligned in many guided ones.

    python benchmarks/few_steps.py [--model mini] [--each 10] [--steps 3] [--many 20] [--scales 1,1.25,2] [--out FILE]

Held-out edits with a known true edit, by the instruction alone and the same noise, every edit in every way in
turn, so that times compare. `calls` are clips that the backbone sees for an edit (two a guided step), `cpu` is seconds
of processor time without the codec. The table has 95 % bootstrap intervals; below it are paired differences, the
aligned student minus each of the others. `--out` stores a line for each edit, and a later call resumes from there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eve_cli.data.world.edits import render_edit
from eve_cli.evaluation.alignment_table import COLUMNS, Column, HeldOutEdits, TableRow, edit, load_editor, measure
from eve_cli.evaluation.statistics import bootstrap

TABLE_COLUMNS = (*COLUMNS, Column("calls", -1, digits=0), Column("cpu", -1, digits=2))
Values = dict[str, dict[str, list[float]]]


def ways(options: argparse.Namespace) -> dict[str, tuple[bool, int, float]]:
    """Name to: aligned or not, steps, how strongly the text is followed."""
    scales = [float(scale) for scale in options.scales.split(",")]
    many = {f"unaligned, {options.many} steps, guided by {scale:g}": (False, options.many, scale) for scale in scales}
    return {f"aligned, {options.steps} steps, unguided": (True, options.steps, 1.0)} | many


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--each", type=int, default=10, help="edits of each task")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--many", type=int, default=20)
    parser.add_argument("--scales", default="1,1.25,2", help="scales of guidance by the text; 1 is none")
    parser.add_argument("--out", type=Path, help="a .jsonl file of values")
    options = parser.parse_args()
    editors = {aligned: load_editor(TableRow("", model=options.model, aligned=aligned)) for aligned in (True, False)}
    settings, batch_sizes = editors[True].settings, []
    for editor in editors.values():
        editor.parts.backbone.register_forward_pre_hook(lambda _, inputs: batch_sizes.append(len(inputs[0])))
    test = HeldOutEdits(each=options.each, frames=settings.frames, side=settings.pixels)
    text = options.out.read_text() if options.out and options.out.is_file() else ""
    lines = [line for line in text.split("\n") if line]
    for number, world_edit in list(enumerate(test.edits()))[len(lines) :]:
        rendered, measurements = render_edit([world_edit], test.frames, test.side, truth=True), {}
        for name, (aligned, steps, scale) in ways(options).items():
            scales = {"steps": steps, "guidance_scale": scale, "image_guidance_scale": 1.0}
            started = time.process_time()
            output = edit(editors[aligned], TableRow(name), rendered, [world_edit], number, scales)
            costs = {"calls": sum(batch_sizes), "cpu": time.process_time() - started}
            batch_sizes.clear()
            measurements[name] = {column: float(value) for column, value in measure(rendered, output).items()} | costs
        lines.append(json.dumps(measurements))
        if options.out:
            options.out.write_text("\n".join(lines) + "\n")
        print(f"{number + 1} of {len(test.edits())}", end="\r", file=sys.stderr)
    show([json.loads(line) for line in lines])


def show(rows: list[dict[str, dict[str, float]]]) -> None:
    """The table and the differences."""
    first, *baselines = rows[0]
    values = {
        name: {c.name: torch.tensor([row[name][c.name] for row in rows]) for c in TABLE_COLUMNS} for name in rows[0]
    }
    print(f"{len(rows)} edits\n| | {' | '.join(c.name for c in TABLE_COLUMNS)} |\n|{'---|' * (len(TABLE_COLUMNS) + 1)}")
    for name, measurements in values.items():
        cells = [_cell(measurements[c.name], c) for c in TABLE_COLUMNS]
        print(f"| {name} | {' | '.join(cells)} |")
    for name in baselines:
        cells = [_cell(values[first][c.name] - values[name][c.name], c, "+") for c in TABLE_COLUMNS[:-2]]
        ratios = [
            f"{float((values[name][c.name] / values[first][c.name]).median()):.1f} times" for c in TABLE_COLUMNS[-2:]
        ]
        print(f"| aligned less {name} | {' | '.join(cells + ratios)} |")


def _cell(values: torch.Tensor, column: Column, sign: str = "") -> str:
    mean, low, high = bootstrap(values * column.scale)
    form = f"{{:{sign}.{column.digits}f}}"
    return form.format(mean) if column.name == "calls" else f"{form} [{form}, {form}]".format(mean, low, high)


if __name__ == "__main__":
    main()
