"""Recordings joined end to end: every picture and packet of sound is kept, on one clock."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from eve_cli.media.decode import VideoReader
from eve_cli.media.encode import VideoWriter
from tests.media.make import X264, ffmpeg, number_of, numbered, numbers

OFFSETS = {"back": (0, 0), "ahead": (0, 5000), "thrice": (0, 0, 0), "far back": (9000, 3)}
TONES = (440, 880, 1760)


def joined(folder: Path, offsets: Sequence[float], kind: str = "ts") -> Path:
    """One-second recordings, 20 numbered pictures and a tone each, whose clocks start at these seconds."""
    content = b""
    for part, offset in enumerate(offsets):
        tone = ("-f", "lavfi", "-i", f"sine=d=1:f={TONES[part]}:r=48000")
        picture, path = folder / f"{part}.mkv", folder / f"{part}.{kind}"
        numbered(picture, 20, *X264, "-pix_fmt", "yuv420p", rate=20)
        codecs = ("-c:v", "copy") if kind == "ts" else ("-c:v", "mpeg2video", "-q:v", 2)
        sound = ("-c:a", "aac" if kind == "ts" else "mp2")
        ffmpeg("-i", picture, *tone, *codecs, *sound, "-output_ts_offset", offset, path)
        content += path.read_bytes()
    result = folder / f"joined.{kind}"
    result.write_bytes(content)
    return result


def loudest(path: Path, second: float) -> float:
    """The frequency that is loudest in the half second around a time."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = [(frame.time or 0.0, frame.to_ndarray()[0]) for frame in container.decode(stream)]
        rate = stream.codec_context.sample_rate
    chosen = np.concatenate([samples for time, samples in frames if abs(time - second) < 0.25]).astype(float)
    return float(np.abs(np.fft.rfft(chosen)).argmax() * rate / len(chosen))


@pytest.mark.parametrize("offsets", OFFSETS.values(), ids=OFFSETS)
def test_pictures_and_sound_of_all_parts_are_kept_and_in_time(offsets: tuple[float, ...], tmp_path: Path) -> None:
    source, count = joined(tmp_path, offsets), len(offsets)
    with VideoReader(source) as reader, VideoWriter(tmp_path / "o.mp4", like=reader.info) as writer:
        times, shown = [], []
        for frame in reader:
            times.append(frame.pts)
            shown.append(number_of(frame.rgb))
            writer.write(frame.rgb, frame.pts, frame.duration)
        assert f"{count} parts are joined" in " ".join(reader.report.warnings)
    assert shown == numbers(tmp_path / "o.mp4") == list(range(20)) * count
    gaps = np.diff([float(time) for time in times])
    assert gaps.min() > 0 and gaps.max() < 0.12
    for part in range(count):  # the tone of a part is heard while its pictures are shown
        assert abs(loudest(tmp_path / "o.mp4", float(times[20 * part + 10])) - TONES[part]) < 8
    with av.open(str(source)) as container, av.open(str(tmp_path / "o.mp4")) as result:
        packets = [sum(1 for packet in each.demux(audio=0) if packet.size) for each in (container, result)]
    assert packets[0] == packets[1]


def test_reading_may_start_in_a_later_part(tmp_path: Path) -> None:
    source = joined(tmp_path, OFFSETS["back"])
    frames = list(VideoReader(source, start=1.5))
    assert frames[0].pts >= Fraction(3, 2) and number_of(frames[-1].rgb) == 19 and 9 <= len(frames) <= 11


def test_program_streams_are_joined_alike(tmp_path: Path) -> None:
    assert numbers(joined(tmp_path, (0, 0), "mpg")) == list(range(20)) * 2


def test_a_pause_is_a_pause(tmp_path: Path) -> None:
    first, second = joined(tmp_path, (0,)), tmp_path / "0.mkv"
    ffmpeg("-i", second, "-f", "lavfi", "-i", "sine=d=1", "-c:v", "copy", "-output_ts_offset", 4, tmp_path / "late.ts")
    (tmp_path / "both.ts").write_bytes(first.read_bytes() + (tmp_path / "late.ts").read_bytes())
    with VideoReader(tmp_path / "both.ts") as reader:
        times = [frame.pts for frame in reader]
        assert not reader.info.timeline.offsets and reader.info.is_vfr
    assert len(times) == 40 and 2.5 < times[20] - times[19] < 3.5
