"""Edits by the real command: time, memory, and how well the rest of the picture is preserved.

    python benchmarks/edit.py [--only speed,memory,untouched] [--model mini] [--short] [--quick]

speed      32 frames at 480p with the model's own steps, in a process of its own, start-up included (bar: 40 s on two
           cores).
memory     peak resident size of a 1,000-frame 480p clip beside a 100-frame one (bar: 1.15 times). --short makes both
           edits frame by frame in one step: two minutes of one core instead of five. The same frames are decoded,
           stored, brought to size and encoded; only the windows of the video model are left out, and they are of one
           size for any clip.
untouched  edits of one thing (add, remove, texture, local) of drawn scenes at 480p: PSNR against the true edit of what
           the edit should leave alone, the result's encoding included (bar: 35 dB). The model sees 64 rows: what lies
           within three of its pixels of the change (22 of the clip's) is shown apart and not held to the bar.
--quick    smaller clips and fewer edits, to see that everything runs: its figures hold for nothing else.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eve_cli.data.world.edits import render_edit, sample_edit
from eve_cli.data.world.export import pictures
from eve_cli.evaluation import truth
from eve_cli.evaluation.statistics import bootstrap
from eve_cli.media.decode import VideoReader
from eve_cli.media.encode import VideoWriter

SPEED_BAR, MEMORY_BAR, UNTOUCHED_BAR = 40.0, 1.15, 35.0
FIRST_SEED = 2**41 + 700_000  # seeds that no training draws
ONE_THING = ("local", "texture", "remove", "add")
MODEL_ROWS = 64
MEASURE = (
    "import resource, sys\nfrom eve_cli.cli.app import run\ncode = run(sys.argv[1:])\n"
    "used = resource.getrusage(resource.RUSAGE_SELF)\n"
    "print(used.ru_maxrss / 1024, used.ru_utime + used.ru_stime)\nsys.exit(code)"
)


def make(path: Path, frames: int, width: int, height: int) -> Path:
    """A soft scene that slides, so that there is motion and no cut."""
    rng = np.random.default_rng(0)
    ground = np.kron(rng.integers(40, 215, (3, height // 40 + 1, width // 40 + 8)), np.ones((1, 40, 40), np.int64))
    with VideoWriter(path, codec="h264", fps=25, audio="none") as writer:
        for number in range(frames):
            offset = number % 200
            writer.write(np.ascontiguousarray(ground[:, :height, offset : offset + width]).astype(np.uint8))
    return path


def edit(clip: Path, instruction: str, result: Path, *options: str) -> tuple[float, float, float]:
    """Seconds, peak resident MB and seconds of processor time of one edit in a fresh process."""
    command = ["edit", str(clip), instruction, "--seed", "1", "-q", "--overwrite", "-o", str(result), *options]
    started = time.monotonic()
    process = subprocess.run([sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=False)
    if process.returncode:
        sys.exit(process.stderr.strip() or f"the edit failed with code {process.returncode}")
    peak, processor = map(float, process.stdout.split()[-2:])
    return time.monotonic() - started, peak, processor


def speed(folder: Path, options: argparse.Namespace) -> bool:
    """One edit of 32 frames."""
    width, height = (426, 240) if options.quick else (854, 480)
    clip = make(folder / "speed.mp4", 32, width, height)
    seconds, peak, processor = edit(clip, "make it snowy", folder / "out.mp4", "--model", options.model)
    print(
        f"speed: 32 frames of {width}x{height} in {seconds:.1f} s (bar {SPEED_BAR:g} s), "
        f"{processor:.1f} s of processor time, peak {peak:.0f} MB"
    )
    return seconds <= SPEED_BAR


def memory(folder: Path, options: argparse.Namespace) -> bool:
    """A clip and one ten times as long."""
    frames, width, height = (200, 426, 240) if options.quick else (1000, 854, 480)
    flags = ["--model", options.model, *(("--method", "per_frame", "--steps", "1") if options.short else ())]
    how = "short: each frame alone, 1 step" if options.short else "as eve edits by itself"
    peaks = []
    for count in (frames // 10, frames):
        clip = make(folder / "memory.mp4", count, width, height)
        seconds, peak, processor = edit(clip, "make it snowy", folder / "out.mp4", *flags)
        peaks.append(peak)
        print(
            f"memory: {count} frames of {width}x{height} ({how}): peak {peak:.0f} MB, "
            f"{seconds:.0f} s, {processor:.0f} s of processor time",
            flush=True,
        )
    print(f"memory: {peaks[1] / peaks[0]:.2f} times (bar {MEMORY_BAR:g})")
    return peaks[1] <= MEMORY_BAR * peaks[0]


def untouched(folder: Path, options: argparse.Namespace) -> bool:
    """Drawn scenes, an edit of one thing in each."""
    width, height, frames, count = (214, 120, 3, 1) if options.quick else (854, 480, 8, options.edits)
    margins = {"beyond": round(3 * height / MODEL_ROWS), "close by too": truth.MARGIN}
    psnrs: dict[str, list[float]] = {name: [] for name in margins}
    for task in ONE_THING:
        for values in edited(folder, options.model, task, (width, height), frames, count, list(margins.values())):
            for name, value in zip(margins, values, strict=True):
                psnrs[name].append(value)
        means = ", ".join(f"{name} {np.nanmean(each[-count:]):.1f} dB" for name, each in psnrs.items())
        print(f"untouched: {task}, {count} edits of {frames} frames of {width}x{height}: {means}", flush=True)
    mean, low, high = bootstrap(torch.tensor(psnrs["beyond"]))
    worst = float(np.nanmin(psnrs["beyond"]))
    print(f"untouched: mean {mean:.1f} dB [{low:.1f}, {high:.1f}] (bar {UNTOUCHED_BAR:g}), worst {worst:.1f} dB")
    return mean >= UNTOUCHED_BAR


def edited(
    folder: Path, model: str, task: str, size: tuple[int, int], frames: int, count: int, margins: list[int]
) -> Iterator[list[float]]:
    """PSNR of the rest for each margin, an edit at a time."""
    for number in range(count):
        world_edit = sample_edit(FIRST_SEED + number, task, held_out=None)
        rendered = render_edit([world_edit], frames, size)
        clip, result = folder / "scene.mkv", folder / "scene.mp4"
        with VideoWriter(clip, codec="ffv1", fps=8, audio="none") as writer:
            for picture in pictures(rendered.source[0]):
                writer.write(np.ascontiguousarray(picture))
        edit(clip, world_edit.instruction, result, "--model", model)
        with VideoReader(result) as reader:
            output = torch.stack([torch.from_numpy(frame.rgb.copy()) for frame in reader]).float() / 255
        yield [float(truth.bg_psnr(rendered.source, rendered.edited, output[None], margin)) for margin in margins]


PARTS: dict[str, Callable[[Path, argparse.Namespace], bool]] = {
    "speed": speed,
    "memory": memory,
    "untouched": untouched,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run, with commas")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--edits", type=int, default=3, help="edits of each kind in the last part")
    parser.add_argument("--short", action="store_true", help="memory: per_frame and one step")
    parser.add_argument("--quick", action="store_true", help="small clips, few edits")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(PARTS):
        parser.error(f"no part called {', '.join(sorted(unknown))}; known are {', '.join(PARTS)}")
    passed = True
    with tempfile.TemporaryDirectory() as name:
        for part in names:
            passed &= PARTS[part](Path(name), options)
    sys.exit(0 if passed else 7)


if __name__ == "__main__":
    main()
