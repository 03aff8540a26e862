"""Editors with a known fault: does `eve_cli.evaluation.truth.success` tell them from the true edit?

    python benchmarks/faults.py [--edits 12] [--model mini]

Each fault is made of true edits of the seven tasks, drawn by the world, and measured as it is and after the model's
codec (a model's output is never better than that). Printed: the share of edits that count as a success, and medians.
The true edit should succeed in 90 % and more after the codec, and every fault hardly ever.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eve_cli.data.looks import LOOKS
from eve_cli.data.world.edits import ALIGNED_TASKS, RenderedEdit, WorldEdit, render_edit, sample_edit
from eve_cli.data.world.scene import COLOURS, PLACES, TIMES, WEATHERS
from eve_cli.evaluation import truth

FIRST_SEED = 2**41 + 300_000  # seeds that no training draws
FRAMES = 8
LIGHT = (0.0, 0.08, -0.06, 0.05, -0.08, 0.07, 0.0, -0.07)  # what a flickering editor adds to its frames
Edits = Sequence[WorldEdit]


def another(edit: WorldEdit) -> WorldEdit | None:
    """The same edit with another answer: another colour, place, time, weather or look; None where nothing is made."""
    rng, target, index = random.Random(edit.instruction), edit.target, edit.subject

    def pick(names: Sequence[str], *used: str) -> str:
        return rng.choice([name for name in names if name not in used])

    if edit.task in ("add", "local", "texture") and index is not None:
        return replace(edit, target=target.with_thing(index, colour=pick(list(COLOURS), target.things[index].colour)))
    if edit.task == "background":
        return replace(edit, target=replace(target, place=pick(PLACES, target.place)))
    if edit.task == "global" and target.time != edit.source.time:
        return replace(edit, target=replace(target, time=pick(TIMES, target.time, edit.source.time)))
    if edit.task == "global":
        return replace(edit, target=replace(target, weather=pick(WEATHERS, target.weather, edit.source.weather)))
    if edit.task == "style" and edit.look:
        return replace(edit, look=pick([n for n, row in LOOKS.items() if row.task == "style"], edit.look))
    return None


def wrong_answer(rendered: RenderedEdit, edits: Edits) -> Tensor:
    """Another colour, place, time, weather or look than was asked for; the source where a thing was to be removed."""
    wrong_edits = [another(edit) for edit in edits]
    size = (rendered.source.shape[-1], rendered.source.shape[-2])
    wrong_frames = render_edit(
        [m or e for m, e in zip(wrong_edits, edits, strict=True)], rendered.source.shape[1], size
    ).edited
    return torch.stack([rendered.source[i] if m is None else wrong_frames[i] for i, m in enumerate(wrong_edits)])


def flickering(rendered: RenderedEdit, edits: Edits) -> Tensor:
    """Each frame a little lighter or darker."""
    light = torch.tensor(LIGHT * (-(-rendered.edited.shape[1] // len(LIGHT))))[: rendered.edited.shape[1]]
    return (rendered.edited + light.view(1, -1, 1, 1, 1)).clamp(0, 1)


def blurred(rendered: RenderedEdit, edits: Edits) -> Tensor:
    """A quarter of the resolution."""
    flat = rendered.edited.flatten(0, 1)
    small = F.interpolate(flat, scale_factor=0.25, mode="area")
    return F.interpolate(small, flat.shape[-2:], mode="bilinear").view_as(rendered.edited)


def repainted(rendered: RenderedEdit, edits: Edits) -> Tensor:
    """The right edit, and other colours in all the rest."""
    repainted_frames = rendered.edited * 0.8 + torch.tensor([0.05, 0.025, 0.1]).view(3, 1, 1)
    return torch.where(rendered.changed.unsqueeze(2) > 0, rendered.edited, repainted_frames)


FAULTS: dict[str, Callable[[RenderedEdit, Edits], Tensor]] = {
    "the true edit": lambda rendered, edits: rendered.edited,
    "the input copied": lambda rendered, edits: rendered.source,
    "half the edit": lambda rendered, edits: torch.lerp(rendered.source, rendered.edited, 0.5),
    "half of the frames": lambda rendered, edits: torch.cat(
        [rendered.edited[:, : FRAMES // 2], rendered.source[:, FRAMES // 2 :]], 1
    ),
    "a wrong answer": wrong_answer,
    "the rest repainted": repainted,
    "flicker": flickering,
    "the first frame frozen": lambda rendered, edits: rendered.edited[:, :1].expand_as(rendered.edited).contiguous(),
    "blur": blurred,
    "shifted": lambda rendered, edits: rendered.edited.roll(4, -1),
}


EDIT_MEASURES = ("edit_acc", "edit_amount", "edit_direction", "edit_colour", "bg_psnr", "bg_ssim", "colour_bias")
TEMPORAL_MEASURES = ("warp_excess", "flicker", "motion_ratio", "detail_ratio", "ssim")


def row(rendered: RenderedEdit, output: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Which edits succeed, and every measure of each."""
    flow, visible = rendered.after.flow, rendered.after.visible
    assert flow is not None and visible is not None
    edit = rendered.source, rendered.edited, output
    measures = {name: getattr(truth, name)(*edit) for name in EDIT_MEASURES}
    measures |= {name: getattr(truth, name)(rendered.edited, output, flow, visible) for name in TEMPORAL_MEASURES[:2]}
    measures |= {name: getattr(truth, name)(rendered.edited, output) for name in TEMPORAL_MEASURES[2:]}
    measures["psnr"] = truth.psnr(output, rendered.edited)
    return truth.success(*edit, flow, visible), measures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=12, help="edits of each task")
    parser.add_argument(
        "--model", default="mini", help="whose codec the second table goes through; none: no such table"
    )
    options = parser.parse_args()
    ways: dict[str, Callable[[Tensor], Tensor]] = {"as it is": lambda clips: clips}
    if options.model != "none":
        from eve_cli.models.editor import Editor

        editor = Editor.load(options.model)
        ways["after the codec"] = lambda clips: torch.cat(
            [editor.decode(editor.encode(frames)) for frames in clips.flatten(0, 1).split(64)]
        ).view_as(clips)
    table: dict[tuple[str, str], list[tuple[Tensor, dict[str, Tensor]]]] = {}
    for task in ALIGNED_TASKS:
        edits = [sample_edit(FIRST_SEED + number, task, held_out=None) for number in range(options.edits)]
        rendered = render_edit(edits, FRAMES, 64, truth=True)
        for fault, make in FAULTS.items():
            for way, send in ways.items():
                table.setdefault((way, fault), []).append(row(rendered, send(make(rendered, edits))))
    for way in ways:
        show(way, {fault: parts for (sent, fault), parts in table.items() if sent == way})


def show(way: str, table: dict[str, list[tuple[Tensor, dict[str, Tensor]]]]) -> None:
    """A table: the share of successes, of all edits and of those that the fault spoils (below 30 dB), and medians."""
    names = list(next(iter(table.values()))[0][1])
    print(f"| {way} | success | of spoilt | {' | '.join(names)} |")
    print("|---" * (len(names) + 3) + "|")
    for fault, parts in table.items():
        good = torch.cat([success for success, _ in parts]).float()
        measures = {name: torch.cat([values[name] for _, values in parts]) for name in names}
        spoilt = good[measures["psnr"] < 30]
        share = f"{spoilt.mean():.0%}" if len(spoilt) else "-"
        medians = " | ".join(f"{float(value.nanmedian()):.4g}" for value in measures.values())
        print(f"| {fault} | {good.mean():.0%} | {share} | {medians} |")
    print()


if __name__ == "__main__":
    with torch.inference_mode():
        main()
