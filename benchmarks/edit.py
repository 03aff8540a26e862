"""How long an edit takes, start-up included, and how much memory it needs as clips get longer.

    python benchmarks/edit.py [--quick] [--model mini] [--skip-memory]

Speed: 32 frames with the model's default steps, in a process of its own (bar: 40 s on two cores). Memory: peak resident
size of a long 480p clip beside a ten times shorter one (bar: 1.15 times; --quick takes 200 and 20 frames at 240p).
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from eve_cli.media.encode import VideoWriter

SPEED_BAR, MEMORY_BAR = 40.0, 1.15
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
            left = number % 200
            writer.write(np.ascontiguousarray(ground[:, :height, left : left + width]).astype(np.uint8))
    return path


def measure(clip: Path, *words: str) -> tuple[float, float, float]:
    """Seconds, peak resident MB and seconds of processor time of one edit in a fresh process."""
    result = clip.with_suffix(".edited.mp4")
    command = ["edit", str(clip), "make it snowy", "--seed", "1", "-q", "--overwrite", "-o", str(result), *words]
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr.strip() or f"the edit failed with code {done.returncode}")
    peak, processor = map(float, done.stdout.split()[-2:])
    return time.monotonic() - started, peak, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter and smaller clips for the memory part")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--memory-method", default="per_frame", help="method of the memory part")
    parser.add_argument("--memory-steps", default="1", help="steps of the memory part: they do not change memory")
    options = parser.parse_args()
    passed = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds, peak, processor = measure(make(folder / "speed.mp4", 32, 854, 480), "--model", options.model)
        passed &= seconds <= SPEED_BAR
        print(
            f"speed: 32 frames in {seconds:.1f} s (bar {SPEED_BAR:g} s), "
            f"{processor:.1f} s of processor time, peak {peak:.0f} MB"
        )
        if not options.skip_memory:
            long, width, height = (200, 426, 240) if options.quick else (1000, 854, 480)
            words = ("--model", options.model, "--method", options.memory_method, "--steps", options.memory_steps)
            _, few, _ = measure(make(folder / "short.mp4", long // 10, width, height), *words)
            _, many, _ = measure(make(folder / "long.mp4", long, width, height), *words)
            passed &= many <= MEMORY_BAR * few
            print(f"memory: {long // 10} frames {few:.0f} MB, {long} frames {many:.0f} MB = {many / few:.2f} times")
    sys.exit(0 if passed else 7)


if __name__ == "__main__":
    main()
