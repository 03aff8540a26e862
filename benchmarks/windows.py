"""Ways to edit clips longer than a window, compared on edits of drawn scenes with a known true edit.

    python benchmarks/windows.py [--model mini] [--each 10] [--frames 32] [--steps N] [--modes NAME,NAME] [--out FILE]

Every edit is made in every way, in turn, so that times compare, and scored against the true edit. The table has 95 %
bootstrap intervals, ▲ and ▼ mark paired differences from the first way that exclude zero. `--out` stores a line for
each edit and way, and a later call resumes from there.

border     how much more the edit changes from frame to frame where one window of the chain ends and the next begins
           than elsewhere, less the same of the true edit, in levels of 255 (where the others have no border at all)
cpu        seconds of processor time a clip, without the codec
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eve_cli.data.world.edits import RenderedEdit, render_edit
from eve_cli.diffusion.windows import plan_spans, plan_windows
from eve_cli.evaluation import alignment_table
from eve_cli.evaluation.alignment_table import HeldOutEdits
from eve_cli.evaluation.metrics.seam import LEAST_STEP, steps
from eve_cli.evaluation.statistics import bootstrap
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.eve import Eve
from eve_cli.methods.per_frame import PerFrame
from eve_cli.models.editor import Editor

WINDOW, CHAIN = 8, 2
Mode = dict[str, int]
"""`overlap`; for denoising together also `keys` (one frame of so many is edited alone) and `span`."""
MODES: dict[str, Mode] = {
    "chain, overlap 2": {"overlap": 2},
    "chain, overlap 4": {"overlap": 4},
    "together, overlap 2": {"overlap": 2, "keys": 0},
    "together, overlap 4": {"overlap": 4, "keys": 0},
    "together, overlap 2, keys 8": {"overlap": 2, "keys": 8},
    "together, overlap 4, keys 8": {"overlap": 4, "keys": 8},
    "together, overlap 4, keys 16": {"overlap": 4, "keys": 16},
    "together, overlap 6, keys 8": {"overlap": 6, "keys": 8},
    "spans of 20, overlap 4, keys 8": {"overlap": 4, "keys": 8, "span": 20},
    "per frame": {},
}
BETTER = {column.name: column.better for column in alignment_table.COLUMNS} | {"seam": -1, "border": -1, "cpu": -1}
DIGITS = {"warp_excess": (1000, 2), "flicker": (100, 2), "bg_psnr": (1, 2), "border": (1, 3), "cpu": (1, 2)}


def edit_clip(editor: Editor, mode: Mode, source: Tensor, guidance: Guidance) -> Tensor:
    """The edited latents of a clip (frames, c, h, w)."""
    if not mode:
        return PerFrame().edit(editor, Clip(source, source, range(len(source)), source[:0]), guidance)
    shots, overlap = [range(len(source))], mode["overlap"]
    windows = plan_windows(shots, WINDOW, overlap)
    if "keys" in mode:
        windows = plan_spans(shots, mode.get("span", 64), overlap)
        guidance = replace(guidance, window=WINDOW, overlap=overlap, keyframes=mode["keys"])
    out = source[:0]
    for each in windows:
        reference = out[each.start : each.start + each.overlap]
        part = source[each.start : each.stop]
        edited = Eve().edit(editor, Clip(part, part, each.frames, reference), guidance)
        out = torch.cat([out[: each.start + each.overlap], edited[each.overlap :]])
    return out


def measures(rendered: RenderedEdit, frames: Tensor) -> dict[str, float]:
    """All measures of one edit, frames (f, 3, h, w)."""
    values = {name: float(value) for name, value in alignment_table.measure(rendered, frames[None]).items()}
    changes, true_changes = steps(rendered.source[0], frames), steps(rendered.source[0], rendered.edited[0])
    median_change = float(changes.quantile(0.5))
    borders = [window.start + window.overlap - 1 for window in plan_windows([range(len(frames))], WINDOW, CHAIN)[1:]]
    is_border = torch.zeros_like(changes, dtype=torch.bool)
    is_border[borders] = True
    excess = [float(each[is_border].mean() - each[~is_border].mean()) for each in (changes, true_changes)]
    return values | {
        "seam": (float(changes.max()) - median_change) / (median_change + LEAST_STEP),
        "border": excess[0] - excess[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--each", type=int, default=10, help="edits of each task")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--steps", type=int, help="denoising steps (default: the model's)")
    parser.add_argument("--modes", help="ways to compare, by part of their names, with semicolons")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("windows.jsonl"))
    options = parser.parse_args()
    name_parts = options.modes.split(";") if options.modes else [""]
    modes = {name: mode for name, mode in MODES.items() if any(part in name for part in name_parts)}
    torch.set_flush_denormal(True)
    editor = Editor.load(options.model).optimize_for_inference()
    settings = editor.settings
    guidance = Guidance(
        "", None, None, options.steps or settings.steps, settings.guidance_scale, settings.image_guidance_scale, 0
    )
    edits = HeldOutEdits(each=options.each, frames=options.frames, seed=options.seed).edits()
    setting = [options.model, options.frames, guidance.steps, options.seed]
    lines = options.out.read_text().split("\n") if options.out.exists() else []
    recorded = [json.loads(line) for line in lines if line]
    rows = {(row["mode"], row["edit"]): row for row in recorded if row["facts"] == setting}
    with torch.inference_mode(), options.out.open("a") as log:
        for number, edit in enumerate(edits):
            todo = [name for name in modes if (name, number) not in rows]
            if not todo:
                continue
            rendered = render_edit([edit], options.frames, settings.pixels, truth=True)
            source = editor.encode(rendered.source[0])
            edit_guidance = replace(guidance, instruction=edit.instruction, seed=1000 + number)
            for name in todo:
                started = time.process_time()
                latents = edit_clip(editor, modes[name], source, edit_guidance)
                seconds = time.process_time() - started
                values = measures(rendered, editor.decode(latents)) | {"cpu": seconds}
                rows[name, number] = {"facts": setting, "mode": name, "edit": number, "values": values}
                log.write(json.dumps(rows[name, number]) + "\n")
                log.flush()
    show(modes, rows, len(edits))


def show(modes: dict[str, Mode], rows: dict, count: int) -> None:
    """The table; the first way is what the others are compared with."""
    columns = list(BETTER)
    print(
        f"{count} edits\n|  | "
        + " | ".join(_title(name) for name in columns)
        + " |\n|---"
        + "|---" * len(columns)
        + "|"
    )
    base: Tensor | None = None
    for mode in modes:
        values = torch.tensor([[rows[mode, i]["values"][name] for name in columns] for i in range(count)])
        base = values if base is None else base
        cells = [_cell(name, values[:, i], base[:, i]) for i, name in enumerate(columns)]
        print(f"| {mode} | " + " | ".join(cells) + " |")


def _title(name: str) -> str:
    scale, _ = DIGITS.get(name, (1, 3))
    return f"{name}{f' x{scale}' if scale > 1 else ''} {'↑' if BETTER[name] > 0 else '↓'}"


def _cell(name: str, values: Tensor, base: Tensor) -> str:
    scale, digits = DIGITS.get(name, (1, 3))
    mean, low, high = (x * scale for x in bootstrap(values))
    _, below, above = bootstrap((values - base) * BETTER[name])
    mark = " ▲" if below > 0 else " ▼" if above < 0 else ""
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]{mark}"


if __name__ == "__main__":
    main()
