"""Scores a small model on held-out scenes of the world, where the right answer is known.

    python benchmarks/mini.py [--model mini] [--edits 210] [--captions 200] [--clips 32] [--write] [--strips DIR]

Prints a table with 95 % bootstrap intervals; ``--write`` puts the scores into the model's bundle.json. The probe that
judges generated pictures at 64 pixels is trained on true renderings the first time and kept in ``--probe``.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from eve_cli.data.world import language as say
from eve_cli.data.world.edits import ALIGNED_TASKS, UNSEEN_TASKS, RenderedEdit, WorldEdit, render_edit, sample_edit
from eve_cli.data.world.render import render
from eve_cli.data.world.scene import COLOURS, KINDS, sample_scene
from eve_cli.diffusion.samplers import ddim
from eve_cli.evaluation import truth
from eve_cli.evaluation.probe import Probe, accuracies, train
from eve_cli.evaluation.statistics import bootstrap
from eve_cli.models.editor import Editor

FIRST_SEED = 2**41  # seeds from here on are drawn by no training
DRAW = 1_000_000
FRAME = [5]

PROBE_SIDE = 64  # side of the pictures that the probe classifies and that are compared, at any side of the model

Row = tuple[str, float, float, float, str]


def row(name: str, values: Tensor, note: str = "") -> Row:
    """A line of the table: mean with its interval."""
    return (name, *bootstrap(values), note)


def at_probe_size(frames: Tensor) -> Tensor:
    """Frames (..., side, side), averaged down to (..., PROBE_SIDE, PROBE_SIDE)."""
    times = frames.shape[-1] // PROBE_SIDE
    return frames if times == 1 else F.avg_pool2d(frames.flatten(0, -4), times).unflatten(0, frames.shape[:-3])


def probe_at(path: Path) -> Probe:
    if path.exists():
        return Probe.load(path)
    probe = train()
    probe.save(path)
    return probe


def codec_rows(editor: Editor, probe: Probe, first_seed: int) -> list[Row]:
    """Round trips of held-out frames."""
    scenes = [sample_scene(first_seed + i, held_out=None) for i in range(256)]
    rendered = render(scenes, FRAME, editor.settings.pixels)
    frames = rendered.frames[:, 0]
    decoded = torch.cat([editor.decode(editor.encode(f)) for f in frames.split(64)])
    things = rendered.masks[:, :, 0].sum(1).clamp(0, 1).unsqueeze(1)
    on_things = -10 * torch.log10(
        ((decoded - frames).square() * things).flatten(1).sum(1) / (3 * things.flatten(1).sum(1))
    )
    rows = [row("vae PSNR, dB", truth.psnr(decoded, frames), "bar 30"), row("vae PSNR on things, dB", on_things)]
    for name, pictures in (("true frames", frames), ("through the vae", decoded)):
        share = accuracies(probe.predict(at_probe_size(pictures)), scenes)["thing in its colour"]
        rows.append((f"probe right on {name}", share, float("nan"), float("nan"), "bar .97"))
    return rows


def image_rows(
    editor: Editor, probe: Probe, first_seed: int, count: int, cfg: float, keep: dict[str, Tensor]
) -> list[Row]:
    """Text to image: is what the caption names there, in its colour? Seen and held-out combinations apart."""
    rows = []
    for name, held_out, n in (("seen", False, count), ("held-out", True, count // 2)):
        scenes = [sample_scene(first_seed + 10_000 + i, held_out=held_out) for i in range(n)]
        captions = [say.caption(s, random.Random(f"caption {i}")) for i, s in enumerate(scenes)]
        generated = torch.cat(
            [generate(editor, captions[i : i + 50], cfg, 20, i) for i in range(0, n, 50)],
        )
        keep[f"image {name}"] = generated[:16]
        answer = probe.predict(at_probe_size(generated))
        shares = accuracies(answer, scenes)
        colour, has_thing = colours_of(scenes)
        good = ((answer.present > 0.5) & (answer.colour == colour))[has_thing].float()
        note = ", ".join(f"{k} {v:.2f}" for k, v in shares.items() if k != "thing in its colour")
        rows.append(row(f"text to image, thing in its colour, {name} combinations", good, f"bar .85; {note}"))
    return rows


def colours_of(scenes: list) -> tuple[Tensor, Tensor]:
    colour = torch.full((len(scenes), len(KINDS)), -1)
    for i, s in enumerate(scenes):
        for t in s.things:
            colour[i, KINDS.index(t.kind)] = list(COLOURS).index(t.colour)
    return colour, colour >= 0


@torch.no_grad()
def generate(editor: Editor, texts: list[str], cfg: float, steps: int, seed: int) -> Tensor:
    """Pictures from texts (n, 3, side, side)."""
    noise = noise_of(editor, len(texts), seed)
    out = ddim(editor.guided_image(editor.embed(texts), cfg), editor.schedule, noise, editor.schedule.trailing(steps))
    return editor.decode(out)


def noise_of(editor: Editor, count: int, seed: int, frames: int | None = None) -> Tensor:
    side = editor.settings.pixels // editor.factor
    channels = editor.backbone.config["in_channels"]
    shape = (count, channels, side, side) if frames is None else (count, frames, channels, side, side)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def edit_frames(
    editor: Editor, edits: list[WorldEdit], rendered: RenderedEdit, texts: str, cfg: tuple[float, float]
) -> Tensor:
    """Lone frames edited by the edit adapter; ``how``: instruction, caption or caption and task."""
    source = editor.encode(rendered.source[:, 0])
    captions = None if texts == "instruction" else [e.caption for e in edits]
    condition = editor.condition([e.instruction for e in edits], captions)
    denoise = editor.guided_edit(
        condition.text, condition.instruction, source, guidance_scale=cfg[0], image_guidance_scale=cfg[1]
    )
    noise = noise_of(editor, len(edits), 7)
    return editor.decode(ddim(denoise, editor.schedule, noise, editor.schedule.trailing(editor.settings.steps)))


def edit_rows(
    editor: Editor, probe: Probe, first_seed: int, count: int, cfg: tuple[float, float], keep: dict
) -> list[Row]:
    """The edit adapter on single frames by task, with the caption as a second column; then the unseen tasks."""
    rows, values_by_task = [], {}
    for task in (*ALIGNED_TASKS, *UNSEEN_TASKS):
        n = max(8, count // len(ALIGNED_TASKS))
        edits = [sample_edit(first_seed + 50_000 + i, task, held_out=None) for i in range(n)]
        rendered = render_edit(edits, FRAME, editor.settings.pixels)
        source, edited = at_probe_size(rendered.source[:, 0]), at_probe_size(rendered.edited[:, 0])
        values = {}
        for how in ("instruction", "caption"):
            output = torch.cat(
                [
                    at_probe_size(edit_frames(editor, edits[i : i + 40], part(rendered, i, i + 40), how, cfg))
                    for i in range(0, n, 40)
                ]
            )
            values[how] = truth.edit_acc(source, edited, output)
            if how == "instruction":
                keep[task] = (source[:8], output[:8], edited[:8], [e.instruction for e in edits[:8]])
                outside_psnr = truth.bg_psnr(source, edited, output)
                if task == "add":
                    is_present = added(probe.predict(output), edits)
                    rows.append(row("added thing present in its colour", is_present, "bar .60; instruction alone"))
        values_by_task[task] = values
        second = bootstrap(values["caption"])[0]
        median = float(values["instruction"].nanmedian())
        outside = bootstrap(outside_psnr)[0]
        rows.append(
            row(
                f"edit_acc {task}",
                values["instruction"],
                f"median {median:.2f}; with caption {second:.2f}; untouched {outside:.1f} dB",
            )
        )
    bar = ("remove", "background", "local", "texture", "style", "global")
    rows.append(row("edit_acc over six tasks", torch.cat([values_by_task[t]["instruction"] for t in bar]), "bar .60"))
    rows.append(row("  the same with caption", torch.cat([values_by_task[t]["caption"] for t in bar])))
    return rows


def part(rendered: RenderedEdit, start: int, end: int) -> RenderedEdit:
    return replace(rendered, source=rendered.source[start:end], edited=rendered.edited[start:end])


def added(answer, edits: list[WorldEdit]) -> Tensor:
    good = []
    for i, e in enumerate(edits):
        assert e.subject is not None
        thing = e.target.things[e.subject]
        kind = KINDS.index(thing.kind)
        good.append(
            bool(answer.present[i, kind] > 0.5) and int(answer.colour[i, kind]) == list(COLOURS).index(thing.colour)
        )
    return torch.tensor(good).float()


@torch.no_grad()
def video_rows(editor: Editor, first_seed: int, count: int, keep: dict) -> list[Row]:
    """The video adapter: warp error of generated clips along the flow that their own first frame's scene would have."""
    frames = editor.settings.frames
    scenes = [replace(sample_scene(first_seed + 90_000 + i), weather="clear") for i in range(count)]
    rendered = render(scenes, frames, editor.settings.pixels, truth=True)
    assert rendered.flow is not None and rendered.visible is not None
    captions = [say.caption(s, random.Random(f"clip {i}"), True, range(frames)) for i, s in enumerate(scenes)]
    first = editor.encode(rendered.frames[:, 0])
    generated = []
    for i in range(0, count, 16):
        texts = editor.embed(captions[i : i + 16])
        noise = noise_of(editor, len(texts), 100 + i, frames)
        schedule = editor.schedule
        denoise = editor.guided_video(texts, first[i : i + 16], guidance_scale=1.0)
        out = ddim(denoise, schedule, noise, schedule.trailing(editor.settings.steps))
        generated.append(editor.decode(out.flatten(0, 1)).view(-1, *rendered.frames.shape[1:]))
    clips = torch.cat(generated)
    reconstructed = torch.cat([editor.decode(editor.encode(c)) for c in rendered.frames]).view_as(rendered.frames)
    keep["video"] = (rendered.frames[:3], clips[:3])
    errors = {
        n: truth.matched_warp_error(c) for n, c in (("true", rendered.frames), ("vae", reconstructed), ("made", clips))
    }
    moved = [(c[:, 1:] - c[:, :-1]).abs().flatten(1).mean(1) for c in (rendered.frames, clips)]
    ratio = errors["made"].mean() / errors["true"].mean()
    return [
        row("warp error of true clips x1000", errors["true"] * 1000),
        row("  of true clips through the vae x1000", errors["vae"] * 1000),
        row("  of generated clips x1000", errors["made"] * 1000, f"{ratio:.2f} x true; bar 3"),
        row("motion of generated clips / of true ones", moved[1] / moved[0], "1 is as lively"),
    ]


def show(rows: list[Row]) -> None:
    for name, mean, low, high, note in rows:
        interval = f"[{low:.3f}, {high:.3f}]" if low == low else ""
        print(f"{name:58} {mean:8.3f} {interval:18} {note}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--draw", type=int, default=1, help="which held-out scenes; settings are chosen on draw 0")
    parser.add_argument("--edits", type=int, default=280)
    parser.add_argument("--captions", type=int, default=200)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--guidance-scale", type=float, default=None)
    parser.add_argument("--image-guidance-scale", type=float, default=None)
    parser.add_argument("--image-cfg", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--only", default="vae,image,edit,video")
    parser.add_argument("--probe", type=Path, default=Path("runs/probe.safetensors"))
    parser.add_argument("--write", action="store_true", help="put the scores into the model's bundle.json")
    parser.add_argument("--strips", type=Path, default=None, help="folder for pictures of the results")
    args = parser.parse_args()
    editor = Editor.load(args.model)
    if args.steps:
        editor.settings = replace(editor.settings, steps=args.steps)
    cfg = (
        editor.settings.guidance_scale if args.guidance_scale is None else args.guidance_scale,
        editor.settings.image_guidance_scale if args.image_guidance_scale is None else args.image_guidance_scale,
    )
    probe, keep, started, rows = probe_at(args.probe), {}, time.time(), []
    first_seed = FIRST_SEED + args.draw * DRAW
    jobs = {
        "vae": lambda: codec_rows(editor, probe, first_seed),
        "image": lambda: image_rows(editor, probe, first_seed, args.captions, args.image_cfg, keep),
        "edit": lambda: edit_rows(editor, probe, first_seed, args.edits, cfg, keep),
        "video": lambda: video_rows(editor, first_seed, args.clips, keep),
    }
    for name in args.only.split(","):
        with torch.no_grad():
            rows += (new := jobs[name]())
        show(new)
    print(f"guidance {cfg}, {editor.settings.steps} steps, {time.time() - started:.0f} s")
    if args.strips:
        save_strips(keep, args.strips)
    if args.write:
        from eve_cli.models.bundle_manifest import resolve

        file = resolve(args.model) / "bundle.json"
        content = json.loads(file.read_text())
        content["scores"] |= {n: [round(v, 4) for v in (m, lo, hi)] for n, m, lo, hi, _ in rows}
        file.write_text(json.dumps(content, indent=1, ensure_ascii=False).replace("NaN", "null") + "\n")


def save_strips(keep: dict, folder: Path) -> None:
    """One picture a task: source, edit and truth above each other."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for name, value in keep.items():
        if name == "video":
            rows = [torch.cat(list(clip), 2) for pair in zip(*value, strict=True) for clip in pair]
        elif isinstance(value, tuple):
            rows = [torch.cat(list(v), 2) for v in value[:3]]
        else:
            rows = [torch.cat(list(v), 2) for v in value.split(8)]
        picture = (torch.cat(rows, 1).clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
        image = Image.fromarray(picture)
        image.resize((image.width * 2, image.height * 2), Image.Resampling.NEAREST).save(folder / f"{name}.png")
        if isinstance(value, tuple) and len(value) > 3:
            (folder / f"{name}.txt").write_text("\n".join(value[3]) + "\n")


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    main()
