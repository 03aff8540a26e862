"""Video in and out against ffmpeg doing the same work: CPU time, memory, and what five edits cost the picture.

Run `python benchmarks/media.py` (minutes) or `python benchmarks/media.py --quick`; the exit code says whether every
bar is met. CPU time is compared, not wall time, so a busy machine does not matter much; runs are interleaved.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eve_cli.media import codecs, color
from eve_cli.media.decode import VideoReader
from eve_cli.media.encode import VideoWriter

TO_RGB = f"scale=flags={color.FLAGS}:in_chroma_loc=left,format=gbrp"
TO_YUV = f"scale=flags={color.FLAGS}:out_chroma_loc=left,format=yuv420p"
BARS = {"decode to accurate RGB": 0.85, "encode": 0.92, "decode, identity, encode": 0.85}


def ffmpeg(*arguments: object) -> None:
    """Run ffmpeg quietly."""
    subprocess.run([get_ffmpeg_exe(), "-v", "error", "-y", "-nostdin", *map(str, arguments)], check=True)


def cpu_of_ffmpeg(*arguments: object) -> float:
    """Measure the CPU seconds of one ffmpeg run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ffmpeg(*arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cpu_of(work: Callable[[], object]) -> float:
    """Measure the CPU seconds of some work in this process, all threads."""
    before = time.process_time()
    work()
    return time.process_time() - before


def x264() -> list[str]:
    """Give our own encoder settings as ffmpeg arguments."""
    options = codecs.CODECS["h264"].options(16, "medium")
    return ["-c:v", "libx264", *(part for key, value in options.items() for part in (f"-{key}", value))]


def decode(clip: Path) -> None:
    with VideoReader(clip) as reader:
        for _ in reader:
            pass


def encode(frames: list[np.ndarray], target: Path) -> None:
    with VideoWriter(target, fps=30) as writer:
        for rgb in frames:
            writer.write(rgb)


def identity(clip: Path, target: Path) -> None:
    with VideoReader(clip) as reader, VideoWriter(target, like=reader.info) as writer:
        for frame in reader:
            writer.write(frame.rgb, frame.pts, frame.duration)


def speed(folder: Path, quick: bool) -> dict[str, float]:
    """Give for each job the median of ffmpeg's CPU time over ours."""
    count, runs = (48, 3) if quick else (150, 5)
    clip, planes, out = folder / "clip.mp4", folder / "planes.raw", folder / "out.mp4"
    noise = "testsrc2=s=832x480:r=30,noise=alls=12:allf=t"
    ffmpeg("-f", "lavfi", "-i", noise, "-frames:v", count, *x264(), "-pix_fmt", "yuv420p", clip)
    ffmpeg("-i", clip, "-vf", TO_RGB, "-fps_mode", "passthrough", "-f", "rawvideo", planes)
    with VideoReader(clip) as reader:
        frames = [frame.rgb for frame in reader]
    raw = ("-f", "rawvideo", "-pix_fmt", "gbrp", "-s", "832x480", "-r", 30, "-i", planes)
    passthrough = ("-fps_mode", "passthrough")
    jobs: dict[str, tuple[Callable[[], float], Callable[[], float]]] = {
        "decode to accurate RGB": (
            lambda: cpu_of_ffmpeg("-i", clip, "-vf", TO_RGB, *passthrough, "-f", "rawvideo", os.devnull),
            lambda: cpu_of(lambda: decode(clip)),
        ),
        "encode": (
            lambda: cpu_of_ffmpeg(*raw, "-vf", TO_YUV, *x264(), out),
            lambda: cpu_of(lambda: encode(frames, out)),
        ),
        "decode, identity, encode": (
            lambda: cpu_of_ffmpeg("-i", clip, "-vf", f"{TO_RGB},{TO_YUV}", *passthrough, *x264(), out),
            lambda: cpu_of(lambda: identity(clip, out)),
        ),
    }
    start = min(cpu_of_ffmpeg("-f", "lavfi", "-i", "color=s=16x16:d=0.04", "-f", "null", "-") for _ in range(3))
    ratios = {}
    for name, (ffmpeg_seconds, our_seconds) in jobs.items():
        pairs = [(ffmpeg_seconds() - start, our_seconds()) for _ in range(runs)]
        ratios[name] = statistics.median(a / b for a, b in pairs)
        cost = [1000 * statistics.median(column) / count for column in zip(*pairs, strict=True)]
        print(f"{name}: ffmpeg {cost[0]:.1f}, ours {cost[1]:.1f} CPU ms a frame")
    return ratios


def resident() -> float:
    """Give this process's resident memory in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def growth(folder: Path) -> float:
    """Measure how memory grows from frame 100 to frame 2,000 of an identity edit, in MB."""
    clip, early = folder / "long.mp4", 0.0
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x180:r=30", "-frames:v", 2000, "-preset", "ultrafast", clip)
    with (
        VideoReader(clip) as reader,
        VideoWriter(folder / "out.mp4", like=reader.info, preset="ultrafast") as writer,
    ):
        for frame in reader:
            writer.write(frame.rgb, frame.pts, frame.duration)
            if frame.index == 100:
                early = resident()
        return resident() - early


def real_clips(count: int) -> list[Path]:
    """Find real clips where the shared data is."""
    data = Path(os.environ.get("EVE_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    return sorted((data / "clips").glob("tgve_*.mp4"))[:count]


def five_edits(clip: Path, folder: Path) -> tuple[float, float]:
    """Pass a clip five times through a lossless codec; give the PSNR in dB and the bias in levels."""
    with VideoReader(clip, max_frames=8) as reader:
        info = reader.info
        first = np.stack([frame.rgb for frame in reader])
    frames = first
    for number in range(5):
        path = folder / f"pass{number}.mp4"
        with VideoWriter(path, like=info, crf=0, preset="ultrafast", audio="none") as writer:
            for index, rgb in enumerate(frames):
                writer.write(rgb, index / info.fps, 1 / info.fps)
        with VideoReader(path) as reader:
            frames = np.stack([frame.rgb for frame in reader])
    error = frames.astype(np.float64) - first
    return float(10 * np.log10(255**2 / np.mean(error**2))), float(error.mean())


def main() -> int:
    """Print each figure with its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer frames and runs")
    quick = parser.parse_args().quick
    met = True

    def bar(name: str, value: str, good: bool) -> None:
        nonlocal met
        met = met and good
        print(f"{'ok  ' if good else 'MISS'} {name}: {value}")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rise = growth(folder)
        bar("memory, frame 100 to 2,000", f"{rise:+.1f} MB (bar: under 20)", rise < 20)
        for job, ratio in speed(folder, quick).items():
            bar(job, f"ffmpeg / ours = {ratio:.2f} (bar: {BARS[job]})", ratio >= BARS[job])
        for clip in real_clips(1 if quick else 3):
            quality, bias = five_edits(clip, folder)
            text = f"{quality:.1f} dB, bias {bias:+.3f} (bars: 40 dB, 0.05)"
            bar(f"five edits of {clip.name}", text, quality >= 40 and abs(bias) <= 0.05)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
