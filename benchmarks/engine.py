"""The engine beside diffusers' own pipelines, in one run with the same weights and the same work.

    python benchmarks/engine.py [--only peers,savings] [--size tiny|full] [--device cpu|cuda]

peers     an edit of a clip by Stable Diffusion 1.5 + AnimateDiff + ControlNet with random weights, from text, frames
          and noise to frames, beside AnimateDiffControlNetPipeline and AnimateDiffVideoToVideoControlNetPipeline, with
          FreeNoise where the clip is longer than a window. Prints how far apart the frames are, seconds (of the
          processor on a CPU), calls of networks, floating point operations, and the most bytes that live at once.
savings   what the approximations cost in quality, with the trained weights of mini on edits of drawn scenes: PSNR to
          the exact result, and how much nearer to or farther from the true edit it is.

Where the time of a window goes: benchmarks/shares.py; memory by the length of a clip: benchmarks/memory.py.
Tiny width is the full layout with narrow layers: its ratios say what calls, copies and products of small matrices cost,
not what a GPU would gain. Runs are interleaved; ratios are medians of pairs. `--steps` is to divide 1,000:
diffusers' DDIM steps by the whole part of 1,000 / steps, so that a rest takes it beside its own timesteps.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import AnimateDiffControlNetPipeline, AnimateDiffVideoToVideoControlNetPipeline, DDIMScheduler
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eve_cli.data.world.edits import render_edit
from eve_cli.diffusion.samplers import ddim
from eve_cli.diffusion.schedule import diffusers_config
from eve_cli.estimate.flops import Cost, count
from eve_cli.evaluation import truth
from eve_cli.evaluation.alignment_table import HeldOutEdits
from eve_cli.evaluation.statistics import bootstrap
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.eve import Eve
from eve_cli.models.editor import Editor
from eve_cli.models.families import sd15
from eve_cli.models.inference.sampling import Sampling, Windows
from eve_cli.models.parts import Parts

TEXT = "make it a red car at night"
STRENGTH, SCALE = 0.8, 7.5
WINDOW, STRIDE = 8, 4
# 128 pixels: so that the smallest layers, too, have more than one place to take a norm over
SIZES = {"tiny": replace(sd15.TINY, pixels=128), "full": sd15.FULL}
DIFFERENCE_BAR, EXACT_BAR, SAVING_BAR, STUDENT_BAR = 1e-3, 1.3, 2.0, 10.0

if hasattr(torch.ops.mkldnn, "_linear_pointwise"):

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _linear_flops(x: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return 2 * x.numel() * out_shape[-1]


@dataclass(frozen=True)
class Work:
    """One edit of a clip: `source` (frames, 3, height, width) in [0, 1], `noise` (1, frames, c, h, w)."""

    source: Tensor
    noise: Tensor
    steps: int
    scale: float

    @classmethod
    def random(cls, editor: Editor, frames: int, steps: int, scale: float) -> Work:
        """From noise."""
        generator = torch.Generator().manual_seed(0)
        side = editor.settings.pixels
        source = torch.rand(frames, 3, side, side, generator=generator)
        noise = torch.randn(1, frames, 4, side // 8, side // 8, generator=generator)
        return cls(source.to(editor.device), noise.to(editor.device, editor.dtype), steps, scale)


def parts_of(size: str) -> Parts:
    """The same random parts each time: one schedule for all, as pipelines have, and nothing that they cannot do."""
    return replace(sd15.random_parts(SIZES[size], sparse=False), image_schedule=None)


def pipeline(kind: type, size: str, editor: Editor, freenoise: bool = False) -> Any:
    """A pipeline of diffusers with the editor's weights, in parts of its own."""
    parts = parts_of(size)
    assert parts.video is not None
    pipe: Any = kind(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=parts.backbone,
        motion_adapter=parts.video.motion,
        controlnet=parts.edit,
        scheduler=DDIMScheduler.from_config(diffusers_config(parts.schedule)),
    )
    pipe.to(editor.device, editor.dtype)
    pipe.set_progress_bar_config(disable=True)
    if freenoise:
        pipe.enable_free_noise(context_length=WINDOW, context_stride=STRIDE)
    return pipe


def theirs(pipe: Any, work: Work, start: Tensor | None = None) -> Tensor:
    """Frames (frames, 3, height, width) by a pipeline; `start` are noisy latents to begin with half way."""
    begin: dict[str, Any] = {"latents": work.noise.transpose(1, 2), "num_frames": len(work.source)}
    if start is not None:
        begin = {"latents": start.transpose(1, 2), "strength": STRENGTH}
    return pipe(
        prompt=TEXT,
        num_inference_steps=work.steps,
        guidance_scale=work.scale,
        conditioning_frames=list(work.source),
        height=work.source.shape[-2],
        width=work.source.shape[-1],
        output_type="pt",
        **begin,
    ).frames[0]


def ours(editor: Editor, work: Work, run: Sampling | None = None, start: Tensor | None = None) -> Tensor:
    """The same by the engine."""
    schedule, times = editor.schedule, editor.schedule.trailing(work.steps)
    if start is not None:
        times = times[work.steps - int(work.steps * STRENGTH) :]
    condition = editor.condition(TEXT)
    denoise = editor.guided_student(
        condition.text,
        condition.instruction,
        work.source[None],
        None,
        guidance_scale=work.scale,
        image_guidance_scale=1.0,
        run=run,
    )
    latents = ddim(denoise, schedule, work.noise if start is None else start, times)[0]
    return torch.cat([editor.decode(part) for part in latents.split(16)])  # as the pipelines do


def half_way(editor: Editor, work: Work) -> Tensor:
    """Noisy latents of the source (1, frames, c, h, w) from which a share of the steps is left."""
    times = editor.schedule.trailing(work.steps)[work.steps - int(work.steps * STRENGTH) :]
    return editor.schedule.add_noise(editor.encode(work.source)[None], work.noise, times[:1]).to(work.noise.dtype)


Job = Callable[[], Tensor]


@dataclass(frozen=True)
class Pair:
    """What is compared: whose pipeline, both jobs, the least gain that is hoped for, and if frames are to be equal."""

    name: str
    pipe: Any
    theirs: Job
    ours: Job
    bar: float
    same: bool = False


def pairs(editor: Editor, size: str, steps: int, frames: int) -> list[Pair]:
    """The rows of the table."""
    work, long = (Work.random(editor, length, steps, SCALE) for length in (frames, 2 * frames))
    few, start = replace(work, steps=4, scale=1.0), half_way(editor, work)
    new, old = AnimateDiffControlNetPipeline, AnimateDiffVideoToVideoControlNetPipeline
    plain, redo, stretched = (
        pipeline(kind, size, editor, freenoise) for kind, freenoise in ((new, False), (old, False), (new, True))
    )

    def peer() -> Tensor:
        return theirs(plain, work)

    def split() -> Tensor:
        halves = (replace(work, source=long.source[i:j], noise=long.noise[:, i:j]) for i, j in parts)
        return torch.cat([theirs(plain, each) for each in halves])

    parts = [(i, i + WINDOW) for i in range(0, 2 * frames, WINDOW)]
    windows, apart = Windows(WINDOW, WINDOW - STRIDE), Windows(WINDOW, 0)
    return [
        Pair("AnimateDiffControlNet", plain, peer, lambda: ours(editor, work), EXACT_BAR, True),
        Pair(
            "AnimateDiffVideoToVideoControlNet",
            redo,
            lambda: theirs(redo, work, start),
            lambda: ours(editor, work, None, start),
            EXACT_BAR,
            True,
        ),
        Pair(
            f"{len(parts)} windows of {WINDOW} frames, one after the other; ours in step",
            plain,
            split,
            lambda: ours(editor, long, Sampling(windows=apart)),
            EXACT_BAR,
            True,
        ),
        Pair(
            f"FreeNoise, {2 * frames} frames, stride {STRIDE}; ours together, overlap {WINDOW - STRIDE}",
            stretched,
            lambda: theirs(stretched, long),
            lambda: ours(editor, long, Sampling(windows=windows)),
            EXACT_BAR,
        ),
        Pair(
            "AnimateDiffControlNet; ours with --cache-interval 3",
            plain,
            peer,
            lambda: ours(editor, work, Sampling(cache_interval=3)),
            SAVING_BAR,
        ),
        Pair(
            "AnimateDiffControlNet; ours in 4 steps, unguided (a student)",
            plain,
            peer,
            lambda: ours(editor, few),
            STUDENT_BAR,
        ),
    ]


def timed(job: Job, device: torch.device) -> float:
    """Seconds of a job: of the processor on a CPU, else of the clock."""
    if device.type != "cuda":
        started = time.process_time()
        job()
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    job()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def cost(job: Job, editor: Editor, pipe: Any | None = None) -> Cost:
    """What a job takes, whatever the machine; `pipe` is whose networks are called, if not the editor's."""
    owner: Any = editor
    if pipe is not None:
        parts = SimpleNamespace(edit=pipe.controlnet)
        owner = SimpleNamespace(backbone=pipe.unet, with_lora=None, video=None, student=None, parts=parts)
    return count(owner, job)


@torch.inference_mode()
def peers(options: argparse.Namespace) -> bool:
    """The table, a row for each pair."""
    device = torch.device(options.device)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    editor = Editor(parts_of(options.size), device, dtype).optimize_for_inference()
    side = editor.settings.pixels
    print(
        f"\npeers: sd15 layout, {options.size} width, {side} pixels, {options.frames} frames, {options.steps} steps, "
        f"{device}, {dtype}, {torch.get_num_threads()} threads\n"
        "| theirs | largest difference | s theirs / ours | times | calls | TFLOP | MB |\n|---|---|---|---|---|---|---|"
    )
    passed = True
    rows = [pair for pair in pairs(editor, options.size, options.steps, options.frames) if options.rows in pair.name]
    for job in dict.fromkeys(pair.theirs for pair in rows):
        group = [pair for pair in rows if pair.theirs is job]
        frames = job()
        differences = [float((frames - pair.ours()).abs().max()) if pair.same else 0.0 for pair in group]
        seconds = [
            [timed(each, device) for each in (job, *(pair.ours for pair in group))] for _ in range(options.repeats)
        ]
        diffusers_cost = cost(job, editor, group[0].pipe)
        for number, pair in enumerate(group):
            pairs_of = [(row[0], row[number + 1]) for row in seconds]
            gain = statistics.median(a / b for a, b in pairs_of)
            both = diffusers_cost, cost(pair.ours, editor)
            passed &= gain >= pair.bar and (dtype != torch.float32 or differences[number] <= DIFFERENCE_BAR)
            cells = [
                pair.name,
                f"{differences[number]:.0e}" if pair.same else "another function",
                " / ".join(f"{statistics.median(each):.2f}" for each in zip(*pairs_of, strict=True)),
                f"**{gain:.2f}** (bar {pair.bar:g})",
                " / ".join(str(each.calls) for each in both),
                " / ".join(f"{each.flops / 1e12:.3f}" for each in both),
                " / ".join(f"{each.bytes / 1e6:.0f}" for each in both),
            ]
            print(f"| {' | '.join(cells)} |", flush=True)
            if device.type == "cuda":
                rate = both[1].flops / statistics.median(each for _, each in pairs_of)
                print(f"  {rate / 1e12:.0f} TFLOP/s, {rate / peak(device):.0%} of a large bf16 product's rate here")
    return passed


def peak(device: torch.device) -> float:
    """Operations a second of a large bf16 product."""
    x = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    return 2 * 8192**3 * 10 / min(timed(lambda: [x @ x for _ in range(10)][-1], device) for _ in range(3))


SAVINGS = {
    "exact": {},
    **{f"--cache-interval {n}": {"cache_interval": n} for n in (2, 3, 4, 5)},
    **{f"--cfg-end {share:g}": {"cfg_end": share} for share in (0.75, 0.5, 0.25)},
    "--cache-interval 3 --cfg-end 0.5": {"cache_interval": 3, "cfg_end": 0.5},
}


@torch.inference_mode()
def savings(options: argparse.Namespace) -> bool:
    """What approximations change, by mini."""
    editor = Editor.load("mini").optimize_for_inference()
    base = Guidance("", None, None, options.steps, options.guidance_scale, 1.0, 0)
    edits = HeldOutEdits(each=options.edits, frames=editor.settings.frames, seed=7).edits()
    results: dict[str, list[list[float]]] = {name: [] for name in SAVINGS}
    for number, edit in enumerate(edits):
        rendered = render_edit([edit], editor.settings.frames, editor.settings.pixels, truth=True)
        source = editor.encode(rendered.source[0])
        clip, frames = Clip(source, source, range(len(source)), source[:0]), torch.empty(0)
        for name, saving in SAVINGS.items():
            guidance = replace(base, instruction=edit.instruction, seed=number, **saving)
            started = time.process_time()
            output = Eve().edit(editor, clip, guidance)
            seconds, output = time.process_time() - started, editor.decode(output)[None]
            frames = output if name == "exact" else frames
            accuracy = float(truth.edit_acc(rendered.source, rendered.edited, output))
            results[name].append([float(truth.psnr(output, frames)), accuracy, seconds])
    print(
        f"\nsavings: mini, {len(edits)} edits of {editor.settings.frames} frames, {options.steps} steps, text guidance "
        f"{options.guidance_scale:g}\n| | PSNR to exact, dB: mean | worst | edit_acc less exact's | times |\n"
        "|---|---|---|---|---|"
    )
    exact = torch.tensor(results["exact"])
    for name, rows in results.items():
        values = torch.tensor(rows)
        mean, low, high = bootstrap(values[:, 1] - exact[:, 1])
        gain = float((exact[:, 2] / values[:, 2]).median())
        cells = [f"{values[:, 0].mean():.1f}", f"{values[:, 0].min():.1f}", f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"]
        print(f"| {name} | {' | '.join(cells)} | {gain:.2f} |", flush=True)
    return True


PARTS: Mapping[str, Callable[[argparse.Namespace], bool]] = {"peers": peers, "savings": savings}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run, with commas")
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--rows", default="", help="peers: rows whose name holds this")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--edits", type=int, default=2, help="savings: edits of each task")
    parser.add_argument("--guidance-scale", type=float, default=1.25, help="savings: how strongly texts are followed")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(PARTS):
        parser.error(f"no part called {', '.join(sorted(unknown))}; known are {', '.join(PARTS)}")
    torch.set_flush_denormal(True)
    passed = True
    for name in names:
        passed &= PARTS[name](options)
    sys.exit(0 if passed else 7)


if __name__ == "__main__":
    main()
