"""Encodes videos for any browser: H.264, yuv420p, even sizes, no sound, no names in the metadata."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from eve_cli.errors import InputError
from eve_cli.media.decode import VideoReader
from eve_cli.media.encode import VideoWriter

STILL = ("images", "picture")
BLOCKS, SIDE = (8, 6), 40


def frame_rate(path: Path) -> Fraction | None:
    """Frames per second of a video; None for a folder of images."""
    with VideoReader(path) as reader:
        return None if reader.info.container in STILL else reader.info.fps


def encode(source: Path, target: Path, longest: int, fps: Fraction) -> Fraction:
    """Encodes a clip, at most `longest` pixels a side, and returns its length in seconds. Images get `fps`."""
    with VideoReader(source) as reader:
        info = reader.info
    scale = min(1.0, longest / max(info.width, info.height))
    size = (_even(info.width * scale), _even(info.height * scale))
    still = info.container in STILL
    return _write(VideoReader(source, size=size, fps=fps if still else None), target, fps if still else info.fps)


def pixelate(source: Path, target: Path, fps: Fraction) -> Fraction:
    """Encodes a clip as a few large blocks, for catch trials, and returns its length in seconds."""
    return _write(VideoReader(source, size=BLOCKS), target, fps, SIDE)


def _write(reader: VideoReader, target: Path, fps: Fraction, enlarged: int = 1) -> Fraction:
    start: Fraction | None = None
    end = Fraction(0)
    with reader, VideoWriter(target, audio="none", fps=fps) as writer:
        for frame in reader:
            start = frame.pts if start is None else start
            rgb = frame.rgb.repeat(enlarged, 1).repeat(enlarged, 2) if enlarged > 1 else frame.rgb
            writer.write(rgb, frame.pts - start, frame.duration)
            end = frame.pts - start + frame.duration
    if not end:
        raise InputError(f"{reader.info.name}: has no frames.")
    return end


def _even(pixels: float) -> int:
    return max(16, 2 * round(pixels / 2))
