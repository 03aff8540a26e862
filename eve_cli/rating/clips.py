"""Videos as any browser plays them: H.264, yuv420p, even sizes, no sound, no names inside."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from eve_cli.errors import InputError
from eve_cli.media.decode import VideoReader
from eve_cli.media.encode import VideoWriter

STILL = ("images", "picture")
BLOCKS, SIDE = (8, 6), 40


def rate(path: Path) -> Fraction | None:
    """Frames a second of a video; None for pictures, which have none."""
    with VideoReader(path) as reader:
        return None if reader.info.container in STILL else reader.info.fps


def encode(source: Path, target: Path, longest: int, fps: Fraction) -> Fraction:
    """Write a clip for the page, at most `longest` pixels a side; its length in seconds. Pictures get `fps`."""
    with VideoReader(source) as reader:
        info = reader.info
    scale = min(1.0, longest / max(info.width, info.height))
    size = (_even(info.width * scale), _even(info.height * scale))
    still = info.container in STILL
    return _write(VideoReader(source, size=size, fps=fps if still else None), target, fps if still else info.fps)


def wreck(source: Path, target: Path, fps: Fraction) -> Fraction:
    """Write what nobody can prefer: the clip as a few large blocks; its length in seconds."""
    return _write(VideoReader(source, size=BLOCKS), target, fps, SIDE)


def _write(reader: VideoReader, target: Path, fps: Fraction, enlarged: int = 1) -> Fraction:
    zero: Fraction | None = None
    end = Fraction(0)
    with reader, VideoWriter(target, audio="none", fps=fps) as writer:
        for frame in reader:
            zero = frame.pts if zero is None else zero
            rgb = frame.rgb.repeat(enlarged, 1).repeat(enlarged, 2) if enlarged > 1 else frame.rgb
            writer.write(rgb, frame.pts - zero, frame.duration)
            end = frame.pts - zero + frame.duration
    if not end:
        raise InputError(f"{reader.info.name}: has no frames.")
    return end


def _even(pixels: float) -> int:
    return max(16, 2 * round(pixels / 2))
