"""Recordings joined end to end: every picture and packet of sound is kept, on one clock."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from eve_cli.media import discontinuities
from eve_cli.media.decode import VideoReader
from eve_cli.media.discontinuities import _Stretch, _Stretches
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


def recording(folder: Path, name: str, *sound: object, seconds: int = 1) -> bytes:
    """A recording from second 0: five pictures a second, and the sound that these ffmpeg arguments describe."""
    picture = ("-f", "lavfi", "-i", f"testsrc2=s=96x64:r=5:d={seconds}")
    ffmpeg(*picture, *sound, *X264, "-pix_fmt", "yuv420p", "-c:a", "aac", folder / name)
    return (folder / name).read_bytes()


def heard(path: Path) -> list[tuple[float, float]]:
    """Where sound begins and ends, in seconds after the first picture; silence of less than half a second is none."""
    with av.open(str(path)) as container:
        first = next(frame.time or 0.0 for frame in container.decode(video=0))
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    spans: list[tuple[float, float]] = []
    for frame in frames:
        start = (frame.time or 0.0) - first
        end = start + frame.samples / frame.sample_rate
        spans[-1:] = [(spans[-1][0], end)] if spans and start - spans[-1][1] < 0.5 else [*spans[-1:], (start, end)]
    return spans


def copied(source: Path, target: Path) -> list[str]:
    with VideoReader(source) as reader, VideoWriter(target, like=reader.info) as writer:
        for frame in reader:
            writer.write(frame.rgb, frame.pts, frame.duration)
    return [*reader.report.warnings, *writer.notes]


TONE = ("-f", "lavfi", "-i", "sine=d=1:r=48000")


@pytest.mark.parametrize("kind", ["mp4", "mkv", "webm"])
@pytest.mark.parametrize("loud", [(False, True), (True, False), (True, False, True), (False, False, True)])
def test_sound_stays_in_the_part_that_has_it(loud: tuple[bool, ...], kind: str, tmp_path: Path) -> None:
    parts = [recording(tmp_path, f"{number}.ts", *(TONE if each else ())) for number, each in enumerate(loud)]
    (tmp_path / "all.ts").write_bytes(b"".join(parts))
    notes = copied(tmp_path / "all.ts", tmp_path / f"o.{kind}")
    assert any(f"{len(loud)} parts are joined" in note for note in notes)
    expected = [(number, number + 1) for number, each in enumerate(loud) if each]
    assert np.allclose(heard(tmp_path / f"o.{kind}"), expected, atol=0.12)


def test_parts_whose_sound_pauses_are_joined(tmp_path: Path) -> None:
    pause = ("-f", "lavfi", "-i", "sine=d=16", "-af", "aselect='lt(t,1)+gt(t,14)'")
    part = recording(tmp_path, "part.ts", *pause, seconds=16)
    (tmp_path / "all.ts").write_bytes(part + part)
    copied(tmp_path / "all.ts", tmp_path / "o.mp4")
    assert np.allclose(heard(tmp_path / "o.mp4"), [(0, 1), (14, 17), (30, 32)], atol=0.15)


def test_one_damaged_time_is_no_new_part() -> None:
    clock, stretches = [*range(5), 500, *range(6, 9), *range(3)], _Stretches()
    for position, second in enumerate(map(Fraction, clock)):
        stretches.add(_Stretch(position, position, second, second + 1, second))
    assert [(each.first, each.last, each.start, each.end) for each in stretches.all()] == [(0, 8, 0, 9), (9, 11, 0, 3)]


def test_all_packets_are_read_for_the_parts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, reads = joined(tmp_path, OFFSETS["back"]), list[int]()
    real = discontinuities.timeline
    monkeypatch.setattr(discontinuities, "timeline", lambda *words: reads.append(1) or real(*words))
    for _ in range(2):
        assert len(VideoReader(source).info.timeline.offsets) == 2
    assert len(reads) == 1
    source.write_bytes((tmp_path / "0.ts").read_bytes())
    assert not VideoReader(source).info.timeline.offsets and len(reads) == 2
