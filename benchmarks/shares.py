"""Where the time of one window goes, for networks as diffusers runs them and for the engine.

    python benchmarks/shares.py [--device cpu|cuda] [--repeats 3]

Of `mini` (64 pixels, 8 frames) and of the sd15 layout at tiny width (128 pixels, 16 frames, random weights): seconds of
the processor on a CPU, else of the clock, medians of repeats that take turns. `sampler and guidance` is what is left of
the denoising when its networks are taken off; `files` reads a window's frames of a 480p clip and writes them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import engine

from eve_cli.diffusion.samplers import ddim
from eve_cli.media.decode import VideoReader
from eve_cli.media.encode import VideoWriter
from eve_cli.models import bundle
from eve_cli.models.editor import Editor
from eve_cli.models.inference.networks import Networks

CLIP = Path(__file__).resolve().parents[1] / "examples" / "car.mp4"
STAGES = ("text", "encode", "edit adapter", "UNet", "sampler and guidance", "decode", "files")
CALLS = {"control": "edit adapter", "first_frame": "edit adapter", "unet": "UNet"}
STEPS = 3


class Clock:
    """Seconds by stage."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, defaultdict[str, float](float)

    def now(self) -> float:
        if self.device.type != "cuda":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    @contextmanager
    def on(self, stage: str) -> Iterator[None]:
        started = self.now()
        yield
        self.seconds[stage] += self.now() - started


class Watched:
    """Networks whose calls are timed."""

    def __init__(self, networks: Networks, clock: Clock) -> None:
        self.networks, self.clock = networks, clock

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            with self.clock.on(CALLS[name]):
                return getattr(self.networks, name)(*args)

        return call


def window(editor: Editor, frames: Tensor, guidance_scale: float) -> dict[str, float]:
    """Seconds by stage of one window of frames (f, 3, h, w)."""
    clock, networks = Clock(editor.device), editor.networks
    editor.networks = Watched(networks, clock)  # pyright: ignore
    editor._texts = None if editor._texts is None else {}
    with clock.on("text"):
        condition = editor.condition(engine.TEXT)
    with clock.on("encode"):
        source = editor.encode(frames)
    control_image = frames if editor.settings.control_image == "pixels" else source
    denoise = editor.guided_student(
        condition.text,
        condition.instruction,
        control_image[None],
        source[None, 0],
        guidance_scale=guidance_scale,
        image_guidance_scale=1.0,
    )
    with clock.on("sampler and guidance"):
        latents = ddim(denoise, editor.schedule, torch.randn_like(source)[None], editor.schedule.trailing(STEPS))[0]
    with clock.on("decode"):
        editor.decode(latents)
    with clock.on("files"), tempfile.TemporaryDirectory() as folder:
        with VideoReader(CLIP) as reader:
            video_frames = list(islice(reader, len(frames)))
        with VideoWriter(Path(folder) / "out.mp4", like=reader.info) as writer:
            for frame in video_frames:
                writer.write(frame.rgb, frame.pts, frame.duration)
    editor.networks = networks
    clock.seconds["sampler and guidance"] -= sum(clock.seconds[stage] for stage in set(CALLS.values()))
    return clock.seconds


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    device, makers = torch.device(options.device), {}
    makers["mini, unguided"] = (lambda: bundle.load(bundle.resolve("mini")), 1.0)
    makers["sd15 layout, tiny, guided"] = (lambda: engine.parts_of("tiny"), engine.SCALE)
    editors, runs_by_name = {}, defaultdict[str, list[dict[str, float]]](list)
    for name, (make, scale) in makers.items():
        editors[f"{name}: diffusers' networks"] = Editor(make(), device), scale
        editors[f"{name}: the engine"] = Editor(make(), device).optimize_for_inference(), scale
    for _ in range(options.repeats + 1):
        for name, (editor, scale) in editors.items():
            side, frames = editor.settings.pixels, editor.settings.frames
            clip = torch.rand(frames, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
            runs_by_name[name].append(window(editor, clip, scale))
    print(f"one window, {STEPS} steps, {device}, {torch.get_num_threads()} threads\n")
    print(f"| | s | {' | '.join(STAGES)} |\n|---|---{'|---' * len(STAGES)}|")
    for name, runs in runs_by_name.items():
        seconds = {stage: statistics.median(run[stage] for run in runs[1:]) for stage in STAGES}
        total = sum(seconds.values())
        print(f"| {name} | {total:.2f} | {' | '.join(f'{seconds[stage] / total:.0%}' for stage in STAGES)} |")


if __name__ == "__main__":
    main()
