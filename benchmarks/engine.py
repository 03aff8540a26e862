"""The engine beside diffusers' own pipelines, in one run with the same weights and the same work.

    python benchmarks/engine.py [--only peers,profile,memory] [--size tiny|full] [--device cpu|cuda] [--repeats 3]

peers     an edit of a clip by Stable Diffusion 1.5 + AnimateDiff + ControlNet with random weights, from text, frames
          and noise to frames, beside AnimateDiffControlNetPipeline and AnimateDiffVideoToVideoControlNetPipeline, with
          FreeNoise where the clip is longer than a window. Prints how far apart the results are, seconds (of the
          processor on a CPU), calls of networks, floating point operations, and the most bytes that live at once.
profile   where the time of one window goes, for mini and for the sd15 layout, with plain networks and the fast ones.
memory    peak memory of whole edits of 16 to 2,000 frames; --picture writes the plot.

Tiny width is the full layout with narrow layers: its ratios say what calls and copies cost, not what a GPU would gain.
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
from diffusers import (
    AnimateDiffControlNetPipeline,
    AnimateDiffVideoToVideoControlNetPipeline,
    DDIMScheduler,
)
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eve_cli.diffusion.samplers import ddim
from eve_cli.diffusion.schedule import diffusers_config
from eve_cli.editing.cost import Cost, count
from eve_cli.models.editor import Editor
from eve_cli.models.families import sd15
from eve_cli.models.forward.run import Run
from eve_cli.models.forward.windows import Windows
from eve_cli.models.parts import Parts

TEXT = "make it a red car at night"
STRENGTH = 0.8
WINDOW, STRIDE = 8, 4


@dataclass(frozen=True)
class Work:
    """One edit of a clip: `source` (frames, 3, height, width) in [0, 1], `noise` (1, frames, c, h, w)."""

    source: Tensor
    noise: Tensor
    steps: int
    scale: float

    @classmethod
    def drawn(cls, editor: Editor, frames: int, steps: int, scale: float) -> Work:
        generator = torch.Generator().manual_seed(0)
        side = editor.settings.pixels
        source = torch.rand(frames, 3, side, side, generator=generator)
        noise = torch.randn(1, frames, 4, side // 8, side // 8, generator=generator)
        return cls(source.to(editor.device), noise.to(editor.device, editor.dtype), steps, scale)


def parts_of(size: str) -> Parts:
    """The parts of both: one schedule for all, as the pipelines have, and nothing that they cannot do."""
    made = sd15.random_parts(sd15.NAMED[size], sparse=False)
    return replace(made, image_schedule=None)


def pipeline(kind: type, size: str, editor: Editor, freenoise: bool = False) -> Any:
    """A pipeline of diffusers over the parts."""
    parts = parts_of(size)
    assert parts.video is not None
    made = kind(
        vae=parts.codec,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=parts.backbone,
        motion_adapter=parts.video.motion,
        controlnet=parts.edit,
        scheduler=DDIMScheduler.from_config(diffusers_config(parts.schedule)),
    )
    made.to(editor.device, editor.dtype)
    made.set_progress_bar_config(disable=True)
    if freenoise:
        made.enable_free_noise(context_length=WINDOW, context_stride=STRIDE)
    return made


def theirs(pipe: Any, work: Work, start: Tensor | None = None) -> Tensor:
    """Frames (frames, 3, height, width) by a pipeline; `start` are noisy latents to begin with half way."""
    video = {} if start is None else {"latents": start.transpose(1, 2), "strength": STRENGTH}
    video |= {"latents": work.noise.transpose(1, 2), "num_frames": len(work.source)} if start is None else {}
    return pipe(
        prompt=TEXT,
        num_inference_steps=work.steps,
        guidance_scale=work.scale,
        conditioning_frames=list(work.source),
        height=work.source.shape[-2],
        width=work.source.shape[-1],
        output_type="pt",
        **video,
    ).frames[0]


def ours(editor: Editor, work: Work, run: Run | None = None, start: Tensor | None = None) -> Tensor:
    """The same by the engine."""
    schedule, times = editor.schedule, editor.schedule.trailing(work.steps)
    if start is not None:
        times = times[work.steps - int(work.steps * STRENGTH) :]
    condition = editor.condition(TEXT)
    denoise = editor.guided_student(
        condition.text, condition.instruction, work.source[None], None, text_cfg=work.scale, video_cfg=1.0, run=run
    )
    return editor.decode(ddim(denoise, schedule, work.noise if start is None else start, times)[0])


def half_way(editor: Editor, work: Work) -> Tensor:
    """Noisy latents of the source (1, frames, c, h, w) from which a share of the steps is left."""
    times = editor.schedule.trailing(work.steps)[work.steps - int(work.steps * STRENGTH) :]
    return editor.schedule.add_noise(editor.encode(work.source)[None], work.noise, times[:1]).to(work.noise.dtype)


Job = Callable[[], Tensor]


@dataclass(frozen=True)
class Pair:
    """What is compared: both jobs, whether they should give the same, and the least gain that is hoped for."""

    name: str
    theirs: Job
    ours: Job
    same: bool
    bar: float
    pipe: Any


def pairs(editor: Editor, size: str, steps: int, frames: int) -> list[Pair]:
    work, long = Work.drawn(editor, frames, steps, 7.5), Work.drawn(editor, 2 * frames, steps, 7.5)
    plain = pipeline(AnimateDiffControlNetPipeline, size, editor)
    redo = pipeline(AnimateDiffVideoToVideoControlNetPipeline, size, editor)
    stretched = pipeline(AnimateDiffControlNetPipeline, size, editor, freenoise=True)
    start, few = half_way(editor, work), replace(work, steps=4, scale=1.0)

    def less() -> Run:
        return Run(refresh=2, outer=3, guided=steps // 2)

    def peer() -> Tensor:
        return theirs(plain, work)

    windows = Windows(WINDOW, WINDOW - STRIDE)
    return [
        Pair("AnimateDiffControlNet", peer, lambda: ours(editor, work), True, 1.3, plain),
        Pair(
            "AnimateDiffVideoToVideoControlNet",
            lambda: theirs(redo, work, start),
            lambda: ours(editor, work, None, start),
            True,
            1.3,
            redo,
        ),
        Pair(
            f"AnimateDiffControlNet + FreeNoise, {2 * frames} frames",
            lambda: theirs(stretched, long),
            lambda: ours(editor, long, Run(windows=windows)),
            False,
            1.3,
            stretched,
        ),
        Pair("... ours with --reuse 2 --guided 0.5", peer, lambda: ours(editor, work, less()), False, 2.0, plain),
        Pair("... ours with 4 steps, no guidance", peer, lambda: ours(editor, few), False, 10.0, plain),
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


def cost(job: Job, editor: Editor, pipe: Any | None) -> Cost:
    """What a job takes, whatever the machine; `pipe` is whose networks are called, if not the editor's."""
    owner: Any = editor
    if pipe is not None:
        parts = SimpleNamespace(edit=pipe.controlnet)
        owner = SimpleNamespace(backbone=pipe.unet, styled=None, video=None, student=None, parts=parts)
    return count(owner, job)


@torch.inference_mode()
def peers(options: argparse.Namespace) -> bool:
    """The table, a row for each pipeline and way."""
    device = torch.device(options.device)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    editor = Editor(parts_of(options.size), device, dtype).quicken()
    print(
        f"\npeers: sd15 layout, {options.size} width, {editor.settings.pixels} pixels, {options.steps} steps, {device}"
    )
    print("| | largest difference | s theirs / ours | times | calls | TFLOP | peak MB |\n|---|---|---|---|---|---|---|")
    passed = True
    for pair in pairs(editor, options.size, options.steps, options.frames):
        apart = float((pair.theirs() - pair.ours()).abs().max()) if pair.same else float("nan")
        seconds = [(timed(pair.theirs, device), timed(pair.ours, device)) for _ in range(options.repeats)]
        gain = statistics.median(a / b for a, b in seconds)
        costs = [cost(pair.theirs, editor, pair.pipe), cost(pair.ours, editor, None)]
        took = [statistics.median(each) for each in zip(*seconds, strict=True)]
        passed &= gain >= pair.bar and not apart > 1e-3
        print(
            f"| {pair.name} | {apart:.1e} | {took[0]:.2f} / {took[1]:.2f} | **{gain:.2f}** (bar {pair.bar:g}) | "
            + " | ".join(
                " / ".join(form.format(getattr(each, name) / scale) for each in costs)
                for name, scale, form in (("calls", 1, "{:.0f}"), ("flops", 1e12, "{:.3f}"), ("bytes", 1e6, "{:.0f}"))
            )
            + " |",
            flush=True,
        )
    return passed


PARTS: Mapping[str, Callable[[argparse.Namespace], bool]] = {"peers": peers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run, with commas")
    parser.add_argument("--size", choices=("tiny", "full"), default="tiny")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
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
