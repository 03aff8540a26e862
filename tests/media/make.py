"""Tricky files, made small and quickly with the ffmpeg program that imageio-ffmpeg brings."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe

from eve_cli.media.clip import Frame, Picture
from eve_cli.media.decode import VideoReader

WIDTH, HEIGHT, BITS = 96, 64, 12
X264 = ("-c:v", "libx264", "-preset", "ultrafast")
LOSSLESS = (*X264, "-qp", "0")


def ffmpeg(*arguments: object, data: bytes | None = None) -> bytes:
    """Run ffmpeg quietly; fail with its words."""
    command = [get_ffmpeg_exe(), "-v", "error", "-y", "-threads", "1", *map(str, arguments)]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def barcode(number: int) -> Picture:
    """Draw a number as twelve black or white blocks, (3, 64, 96)."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    row = np.repeat(np.array(bits, np.uint8) * 255, WIDTH // BITS)
    return np.broadcast_to(row, (3, HEIGHT, WIDTH)).copy()


def number_of(rgb: Picture) -> int:
    """Read the number that `barcode` drew, at any size."""
    middle = rgb[:, rgb.shape[1] // 2].mean(0)
    blocks = np.array_split(middle, BITS)
    return sum(int(np.median(block) > 127) << bit for bit, block in enumerate(blocks))


def raw(frames: Sequence[Picture]) -> bytes:
    """Give frames as rgb24 bytes."""
    return b"".join(frame.transpose(1, 2, 0).tobytes() for frame in frames)


def rgb_input(width: int = WIDTH, height: int = HEIGHT, rate: object = 30) -> tuple[str, ...]:
    """Name the ffmpeg arguments that read `raw` frames."""
    return ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate), "-i", "-")


def numbered(path: Path, count: int, *arguments: object, rate: object = 30) -> Path:
    """Write a file of numbered frames."""
    ffmpeg(*rgb_input(rate=rate), *arguments, path, data=raw([barcode(number) for number in range(count)]))
    return path


def numbered_vfr(path: Path, ticks: Sequence[int], time_base: Fraction) -> Path:
    """Write numbered frames at given times, with PyAV, unlike the writer under test."""
    with av.open(str(path), "w", container_options={"video_track_timescale": str(time_base.denominator)}) as output:
        stream = output.add_stream("libx264", rate=30, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = time_base
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(barcode(number).transpose(1, 2, 0), format="rgb24")
            frame.pts, frame.time_base = tick, time_base
            output.mux(stream.encode(frame.reformat(format="yuv420p")))
        output.mux(stream.encode(None))
    return path


def constant_yuv(
    path: Path, colors: Sequence[tuple[int, int, int]], *arguments: object, pixel_format: str = "yuv420p"
) -> Path:
    """Write a frame for each Y'CbCr colour, without loss."""
    size, ten = WIDTH * HEIGHT, "10" in pixel_format
    kind = np.dtype("<u2") if ten else np.dtype("u1")
    quarter = size if "444" in pixel_format else size // 4
    planes = (size, quarter, quarter)
    frames = b"".join(np.full(n, v, kind).tobytes() for values in colors for n, v in zip(planes, values, strict=True))
    source = ("-f", "rawvideo", "-pix_fmt", pixel_format, "-s", f"{WIDTH}x{HEIGHT}", "-r", "25", "-i", "-")
    ffmpeg(*source, *LOSSLESS, *arguments, path, data=frames)
    return path


def read(path: object, **options: object) -> list[Frame]:
    """Read all frames."""
    with VideoReader(str(path), **options) as reader:  # type: ignore[arg-type]
        return list(reader)


def numbers(path: object, **options: object) -> list[int]:
    """Read all frame numbers."""
    return [number_of(frame.rgb) for frame in read(path, **options)]
