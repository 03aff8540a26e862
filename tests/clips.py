"""Small clips made on the spot."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from eve_cli.media.decode import VideoReader
from eve_cli.media.encode import VideoWriter


def pictures(frames: int, width: int = 96, height: int = 64, seed: int = 0) -> np.ndarray:
    """A textured ground that slides, uint8 (frames, 3, height, width); another seed is another scene."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 215, (3, height // 8 + 1, (width + frames) // 8 + 2))
    ground = np.kron(coarse, np.ones((1, 8, 8), np.int64))[:, :height] + rng.integers(-12, 13, (3, height, 1))
    return np.stack([ground[:, :, n : n + width] for n in range(frames)]).clip(0, 255).astype(np.uint8)


def make_clip(path: Path, frames: np.ndarray | int = 12, codec: str = "ffv1", fps: int = 10) -> Path:
    """Writes a clip; ffv1 (in .mkv) keeps every pixel."""
    shown = pictures(frames) if isinstance(frames, int) else frames
    with VideoWriter(str(path), codec=codec, fps=fps, audio="none") as writer:
        for number, picture in enumerate(shown):
            writer.write(picture, Fraction(number, fps), Fraction(1, fps))
    return path


def read_clip(path: Path) -> np.ndarray:
    """All frames of a clip, uint8 (frames, 3, height, width)."""
    with VideoReader(path) as reader:
        return np.stack([frame.rgb for frame in reader])


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal to noise ratio."""
    error = float(((one.astype(np.float64) - other) ** 2).mean())
    return 99.0 if error == 0 else 10 * float(np.log10(255**2 / error))
