"""Peak memory of whole edits by the length of the clip.

    python benchmarks/memory.py [--frames 16,64,250,1000,2000] [--modes sequential,joint] [--plot memory.svg]

Clips of 64x64 pixels are drawn and edited by `eve edit --model mini --steps 1`, each in its own process, whose peak
resident memory (on a CPU, Python and its libraries included) is measured by the system.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eve_cli.media.encode import VideoWriter

SIDE, RATE = 64, 25
EDIT = """
import resource, sys
from eve_cli.cli.app import main
sys.argv[1:] = ["edit", *sys.argv[1:]]
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=sys.stderr)
"""


def draw(path: Path, frames: int) -> None:
    """A clip of a square that goes round."""
    still = np.full((3, SIDE, SIDE), 90, np.uint8)
    with VideoWriter(path, fps=RATE) as writer:
        for number in range(frames):
            picture, at = still.copy(), number % (SIDE - 16)
            picture[:, 24:40, at : at + 16] = np.array([200, 60, 40], np.uint8)[:, None, None]
            writer.write(picture, None, None)


def megabytes(clip: Path, mode: str, folder: Path) -> float:
    """The peak of an edit."""
    arguments = [str(clip), "make it snowy", "--steps", "1", "--seed", "1", "--long", mode, "--scene-cuts", "off", "-q"]
    arguments += ["-o", str(folder / "out.mp4"), "--overwrite"]
    process = subprocess.run([sys.executable, "-c", EDIT, *arguments], capture_output=True, text=True)
    if process.returncode:
        sys.exit(process.stderr)
    return float(process.stderr.split()[-1])


def plot(peaks: dict[str, dict[int, float]], path: Path) -> None:
    """Lines over the length of the clip."""
    from matplotlib.figure import Figure

    figure = Figure((7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for mode, row in peaks.items():
        axes.plot(*zip(*sorted(row.items()), strict=True), marker="o", label=f"--long {mode}")
    axes.set(title="peak memory of an edit", xlabel="frames", ylabel="MB", ylim=(0, None))
    axes.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", default="16,64,250,1000,2000")
    parser.add_argument("--modes", default="sequential,joint")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    lengths = [int(each) for each in options.frames.split(",")]
    peaks: dict[str, dict[int, float]] = {mode: {} for mode in options.modes.split(",")}
    print(f"most memory, MB\n| frames | {' | '.join(peaks)} |\n|---{'|---' * len(peaks)}|")
    with tempfile.TemporaryDirectory() as name:
        for frames in lengths:
            clip = Path(name) / f"{frames}.mp4"
            draw(clip, frames)
            for mode, row in peaks.items():
                row[frames] = megabytes(clip, mode, Path(name))
            print(f"| {frames:,} | {' | '.join(f'{row[frames]:.0f}' for row in peaks.values())} |", flush=True)
    if options.plot:
        plot(peaks, options.plot)


if __name__ == "__main__":
    main()
