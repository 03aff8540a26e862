"""A clip written and read again keeps its frames, times and colours."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from eve_cli.media.decode import VideoReader
from eve_cli.media.encode import VideoWriter


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv"])
def test_constant_rate(tmp_path: Path, kind: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, 4, 6), np.uint8).repeat(16, 1).repeat(16, 2)
    rate = Fraction(24000, 1001)
    with VideoWriter(tmp_path / f"a.{kind}", fps=rate, crf=0, preset="ultrafast") as writer:
        for index in range(6):
            writer.write(np.roll(picture, 16 * index, 2), index / rate, 1 / rate)
    with VideoReader(tmp_path / f"a.{kind}") as reader:
        frames = list(reader)
    assert [frame.pts for frame in frames] == [index / rate for index in range(6)]
    assert [frame.duration for frame in frames] == [1 / rate] * 6
    assert reader.info.fps == rate and not reader.info.is_vfr
    for index, frame in enumerate(frames):
        error = frame.rgb.astype(int) - np.roll(picture, 16 * index, 2)
        assert abs(error)[:, 8::16, 8::16].max() <= 2
