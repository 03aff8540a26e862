"""Dreamix on edits of the world with a known true edit: the effect of fine-tuning, and a comparison with baselines.

    python benchmarks/dreamix.py [--scenes 24] [--out runs/dreamix] [--probe runs/probe.safetensors] [--strips 4]
    python benchmarks/dreamix.py --motion-words 16

Each variant is fine-tuned once on each held-out scene and edits it in four ways (motion, style, object, background)
to the caption of the result, from the same noise. Scenes that are in --out are not repeated, so a run can be stopped at
any time. Intervals are 95 % bootstraps over scenes; ▲ and ▼ are paired differences from the reference that exclude
zero.

learning    the paper's table 1: no fine-tuning, video-only, mixed; and no fine-tuning with as much noise as those.
            `best`: how often a variant's clip is the one of the three nearest to the true edit, in place of raters.
base lines  the paper's table 2: the text alone, every frame by itself, Dreamix with one setting for all edits.
            `quality`, `fidelity` and `alignment` are shares of clips that pass (`PASSES`), `success` of those that
            pass all three.

motion_words  whether the video model follows words of motion at all: from the true edit's first frame, with the true
            caption and with that of the source.

asked       the clip is nearer to a drawing of what was asked for than to one of any other value
            (evaluation/scene_matching.py).
as before   the clip is nearer to a drawing of the source's own value than to one of any other.
probe       share of the target's things, colours, place, time and weather that a probe sees; --probe is the file
            that benchmarks/mini.py trains.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eve_cli.data.world.edits import MOTION, RenderedEdit, WorldEdit, edit_scene, render_edit, sample_edit
from eve_cli.data.world.scene import sample_scene
from eve_cli.diffusion.noise import frame_noise
from eve_cli.diffusion.samplers import ddim
from eve_cli.evaluation import scene_matching, truth
from eve_cli.evaluation.probe import Probe, accuracies
from eve_cli.evaluation.statistics import bootstrap, paired, wilson
from eve_cli.generation.generate import text_to_video
from eve_cli.media.compose import save_png
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.dreamix import Dreamix
from eve_cli.methods.options import DreamixOptions
from eve_cli.models.editor import Editor

FIRST_SEED = 2**41 + 1_300_000  # seeds that no training draws
KINDS = {"motion": (MOTION,), "style": ("style",), "object": ("add", "local"), "background": ("background", "texture")}
FRAMES, SIDE = 8, 64
VARIANTS = {
    "no fine-tuning": DreamixOptions(preset="style"),
    "video-only": DreamixOptions(preset="video"),
    "mixed": DreamixOptions(preset="motion"),
}
CONTROLS = {"no fine-tuning, as much noise": DreamixOptions(preset="motion", tune_steps=0)}
BASE = ("text alone", "every frame alone")
LEARNING = ("asked", "as before", "edit_acc", "bg_psnr", "psnr", "ssim", "detail_ratio", "motion_ratio", "best")
AGAINST = ("quality", "fidelity", "alignment", "success", "probe", "psnr", "warp", "detail_ratio")
PASSES: dict[str, Callable[[dict[str, float]], bool]] = {  # chosen before the table was made
    "quality": lambda row: 0.5 <= row["detail_ratio"] <= 1.6 and row["warp"] <= 4e-3,
    "fidelity": lambda row: row["bg_psnr"] >= 15 if math.isfinite(row["bg_psnr"]) else row["ssim"] >= 0.3,
    "alignment": lambda row: row["asked"] == 1,
}
Row = dict[str, float]


def edits(number: int) -> dict[str, WorldEdit]:
    """One edit of each kind in a scene with one thing, two at most."""
    rng = random.Random(f"dreamix {number}")
    while True:
        scene = sample_scene(FIRST_SEED + rng.randrange(100_000), held_out=None)
        edits_by_kind = {}
        for kind, tasks in KINDS.items():
            tries = (edit_scene(rng, scene, rng.choice(tasks), True, range(FRAMES)) for _ in range(10))
            edits_by_kind[kind] = next((edit for edit in tries if edit is not None), None)
        if len(scene.things) <= 2 and all(edits_by_kind.values()):
            return {kind: edit for kind, edit in edits_by_kind.items() if edit is not None}


class Scene:
    """A scene, its edits drawn, and the editor that edits it."""

    def __init__(self, editor: Editor, number: int, steps: int, guidance_scale: float) -> None:
        self.editor, self.number, self.edits = editor, number, edits(number)
        self.rendered: RenderedEdit = render_edit(list(self.edits.values()), FRAMES, SIDE, truth=True)
        self.source = editor.encode(self.rendered.source[0]).float()
        self.guidance = Guidance("", None, None, steps, guidance_scale, 1.0, seed=number)

    def edited(self, name: str, edit: WorldEdit) -> Tensor:
        """The frames (frames, 3, side, side) that a row of the tables makes of an edit."""
        guidance, editor = replace(self.guidance, caption=edit.caption), self.editor
        clip = Clip(self.source, self.source, range(FRAMES), self.source[:0])
        if options := (VARIANTS | CONTROLS).get(name):
            return editor.decode(Dreamix().edit(editor, clip, replace(guidance, options=options)))
        sampling = {"seed": guidance.seed, "steps": guidance.steps, "guidance_scale": guidance.guidance_scale}
        if name == "text alone":
            return editor.decode(text_to_video(editor, edit.caption, FRAMES, **sampling))
        untuned = replace(VARIANTS["no fine-tuning"], tune_steps=0)
        single_frames = [
            replace(clip, source=row[None], control_image=row[None], indices=range(i, i + 1))
            for i, row in enumerate(self.source)
        ]
        latents = [Dreamix().edit(editor, each, replace(guidance, options=untuned)) for each in single_frames]
        return editor.decode(torch.cat(latents))


def measures(
    scene: Scene, row: int, edit: WorldEdit, clip: Tensor, answers: scene_matching.Candidates, probe: Probe | None
) -> Row:
    """All measures of one clip."""
    rendered = scene.rendered
    assert rendered.after.flow is not None and rendered.after.visible is not None
    source, target, flow, visible = (
        part[row : row + 1] for part in (rendered.source, rendered.edited, rendered.after.flow, rendered.after.visible)
    )
    output = clip[None]
    values = {name: float(value) for name, value in truth.measures(source, target, output, flow, visible).items()}
    values["psnr"], values["ssim"] = float(truth.psnr(target, output)), float(truth.ssim(target, output))
    values["warp"] = float(truth.matched_warp_error(output) - truth.matched_warp_error(target))
    values["asked"] = float(answers.shows_target(clip))
    values["as before"] = float(answers.closest(clip) == answers.closest(source[0]))
    values["probe"] = math.nan
    if probe is not None and not edit.look:
        shares = accuracies(probe.predict(clip), [edit.target] * FRAMES)
        values["probe"] = sum(shares[name] for name in ("thing in its colour", "place", "time", "weather")) / 4
    values |= {name: float(test(values)) for name, test in PASSES.items()}
    return values | {"success": float(all(test(values) for test in PASSES.values()))}


def run(
    editor: Editor, number: int, options: argparse.Namespace, probe: Probe | None, results: dict[str, dict[str, Row]]
) -> dict[str, dict[str, Row]]:
    """The measures of every edit of a scene, by kind and row of the tables; those in `results` are not repeated."""
    row_names = [*BASE, *VARIANTS, *CONTROLS]
    if all(name in rows for rows in results.values() for name in row_names) and results:
        return results
    scene = Scene(editor, number, options.steps, options.guidance_scale)
    for row, (kind, edit) in enumerate(scene.edits.items()):
        measured = results.setdefault(kind, {})
        answers = scene_matching.candidates(edit, range(FRAMES), SIDE)
        clips = {} if measured else {"input copied": scene.rendered.source[row]}
        if not measured:
            clips["true edit, codec"] = editor.decode(editor.encode(scene.rendered.edited[row])).float()
        clips |= {name: scene.edited(name, edit).float() for name in row_names if name not in measured}
        measured |= {name: measures(scene, row, edit, clip, answers, probe) for name, clip in clips.items()}
        nearest = max(VARIANTS, key=lambda name: measured[name]["psnr"])
        for name in measured:
            measured[name]["best"] = float(name == nearest) if name in VARIANTS else math.nan
        if number < options.strips and set(VARIANTS) <= set(clips):
            rows = [
                scene.rendered.source[row],
                scene.rendered.edited[row],
                *(clips[name] for name in (*VARIANTS, *BASE)),
            ]
            sheet = torch.cat([torch.cat(list(each[::2]), 2) for each in rows], 1)
            save_png((sheet.clamp(0, 1) * 255).round().byte().numpy(), options.out / f"{number:03d}.{kind}.png")
            print(f"{number} {kind}: {edit.source_caption} -> {edit.caption}", flush=True)
    return results


def motion_words(editor: Editor, count: int, guidance_scale: float = 4.0, steps: int = 10) -> None:
    """Prints how the video model moves true first frames, with the caption of the result and with the source's."""
    matches, identical, schedule = {"caption": 0, "source_caption": 0}, 0, editor.schedule
    for number in range(count):
        edit = sample_edit(FIRST_SEED + 200_000 + number, MOTION, held_out=None, frames=range(FRAMES))
        answers, first = (
            scene_matching.candidates(edit, range(FRAMES), SIDE),
            render_edit([edit], FRAMES, SIDE).edited[0, :1],
        )
        _, channels, height, width = editor.encode(first).shape
        noise = frame_noise(number, range(FRAMES), (channels, height, width))
        predicted = {}
        for name in matches:
            denoise = editor.guided_video(
                editor.embed([getattr(edit, name)]), editor.encode(first), guidance_scale=guidance_scale
            )
            frames = editor.decode(ddim(denoise, schedule, noise[None], schedule.trailing(steps))[0])
            predicted[name] = answers.closest(frames.float())
            matches[name] += predicted[name] == answers.target
        identical += len(set(predicted.values())) == 1
    print(
        f"of {count} clips from a true first frame, {matches['caption']} move as the true caption says, "
        f"{matches['source_caption']} do so with the source's caption; the two move alike in {identical}"
    )


def table(
    results: Sequence[dict[str, dict[str, Row]]],
    kinds: Iterable[str],
    names: Sequence[str],
    columns: Sequence[str],
    reference: str,
) -> str:
    """Means with intervals; differences from the reference are paired edit by edit, and drawn scene by scene."""
    rows = [(number, kind) for number, each in enumerate(results) for kind in kinds if kind in each]
    clusters = [number for number, _ in rows]
    lines = ["| | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 1)]
    for name in names:
        cells = []
        for column in columns:
            values, base_values = ([results[i][kind][each][column] for i, kind in rows] for each in (name, reference))
            scale, digits = (1000, 2) if column == "warp" else (1, 1 if column.endswith("psnr") else 2)
            if column == "best":
                share = wilson(sum(values), len(values)) if all(map(math.isfinite, values)) else None
                cells.append("" if share is None else f"{share.mean:.0%} [{share.low:.0%}, {share.high:.0%}]")
                continue
            mean, low, high = (part * scale for part in bootstrap(values, clusters))
            change = paired(values, base_values, clusters).difference
            mark = "" if name == reference or not change.low * change.high > 0 else " ▲" if change.mean > 0 else " ▼"
            cells.append(f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]{mark}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path("runs/dreamix"))
    parser.add_argument("--model", default="mini")
    parser.add_argument("--probe", type=Path, help="without it the column of the probe is empty")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the networks")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--guidance-scale", type=float, default=2.0)
    parser.add_argument(
        "--motion-words",
        type=int,
        default=0,
        help="only measure whether words of motion are followed, on N edits",
    )
    parser.add_argument("--strips", type=int, default=4, help="scenes of which pictures are written")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)
    editor = Editor.load(options.model, dtype=getattr(torch, options.dtype)).optimize_for_inference()
    if options.motion_words:
        with torch.no_grad():
            return motion_words(editor, options.motion_words)
    probe, results = Probe.load(options.probe) if options.probe else None, []
    for number in range(options.scenes):
        file = options.out / f"{number:03d}.json"
        with torch.no_grad():
            results.append(run(editor, number, options, probe, json.loads(file.read_text()) if file.is_file() else {}))
        file.write_text(json.dumps(results[-1]))
    report = [f"{len(results)} scenes, {sum(map(len, results))} edits"]
    bounds = ("input copied", "true edit, codec")
    for kind in KINDS:
        report += [
            f"\n{kind}\n",
            table(results, [kind], [*VARIANTS, *CONTROLS, *bounds], LEARNING, "no fine-tuning"),
        ]
    report += ["\nall\n", table(results, KINDS, [*VARIANTS, *CONTROLS, *bounds], LEARNING, "no fine-tuning")]
    report += ["\nall, against base lines\n", table(results, KINDS, [*BASE, "mixed", *bounds], AGAINST, "mixed")]
    (options.out / "tables.md").write_text("\n".join(report) + "\n")
    print("\n".join(report))


if __name__ == "__main__":
    main()
