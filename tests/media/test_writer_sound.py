"""Sound, subtitles, chapters and tags travel with the picture, unchanged and in time."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from eve_cli.media.decode import VideoReader, probe
from eve_cli.media.encode import VideoWriter
from tests.media.make import X264, ffmpeg, numbered

YUV = ("-pix_fmt", "yuv420p")
CODECS = {"aac": "mp4", "libmp3lame": "mp4", "ac3": "mkv", "libopus": "mkv", "flac": "mkv", "libvorbis": "mkv"}
CODECS |= {"pcm_s16le": "mov", "alac": "mov", "mp2": "ts"}
NOT_IN_MOV = ("libopus", "flac", "libvorbis")


def edit(source: Path, target: Path, **options: object) -> list[str]:
    """Read a clip and write it again; give the writer's notes."""
    with (
        VideoReader(source, **options) as reader,  # type: ignore[arg-type]
        VideoWriter(target, like=reader.info, crf=30, preset="ultrafast") as writer,
    ):
        for frame in reader:
            writer.write(frame.rgb, frame.pts, frame.duration)
    return writer.notes


def sound_of(path: Path) -> dict[int, list[str]]:
    """Hash the sound packets by stream."""
    with av.open(str(path)) as container:
        found: dict[int, list[str]] = {stream.index: [] for stream in container.streams.audio}
        for packet in container.demux(*container.streams.audio):
            if packet.size:
                found[packet.stream_index].append(hashlib.md5(bytes(packet)).hexdigest())
    return found


@pytest.fixture(scope="module", params=CODECS)
def two_tracks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    path = tmp_path_factory.mktemp("sound") / f"{request.param}.{CODECS[request.param]}"
    inputs = ("-f", "lavfi", "-i", "color=s=96x64:r=25:d=1", "-f", "lavfi", "-i", "anoisesrc=d=1:r=48000")
    codecs = (*X264, *YUV, "-c:a", request.param, "-ac", 2, "-strict", -2)
    labels = ("-metadata:s:a:0", "language=fra", "-metadata:s:a:1", "title=Zwei", "-disposition:a:1", "comment")
    ffmpeg(*inputs, "-map", 0, "-map", 1, "-map", 1, *codecs, *labels, path)
    return request.param, path


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv"])
def test_packets_are_the_same(two_tracks: tuple[str, Path], tmp_path: Path, kind: str) -> None:
    codec, source = two_tracks
    notes = edit(source, tmp_path / f"o.{kind}")
    if kind == "mov" and codec in NOT_IN_MOV:
        assert any("re-encoded as aac" in note for note in notes)
        return
    assert list(sound_of(source).values()) == list(sound_of(tmp_path / f"o.{kind}").values()) and not notes
    one, two = probe(source), probe(tmp_path / f"o.{kind}")
    if codec != "mp2":  # mp4 has one label for both layers
        assert [track.codec for track in one.audio] == [track.codec for track in two.audio]
    if CODECS[codec] == "mkv" and kind == "mkv":
        assert [track.language for track in two.audio] == ["fra", None]
        assert two.audio[1].title == "Zwei"
        with av.open(str(tmp_path / "o.mkv")) as container:
            assert [int(stream.disposition) & 8 for stream in container.streams.audio] == [0, 8]


def test_webm_takes_vorbis_and_encodes_the_rest(two_tracks: tuple[str, Path], tmp_path: Path) -> None:
    codec, source = two_tracks
    if codec not in ("libvorbis", "pcm_s16le"):
        pytest.skip("two codecs are enough")
    notes = edit(source, tmp_path / "o.webm", max_frames=5)
    assert [track.codec for track in probe(tmp_path / "o.webm").audio] == (
        ["vorbis"] * 2 if codec == "libvorbis" else ["opus"] * 2
    )
    assert bool(notes) == (codec != "libvorbis")


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("first,second", [(0.5, 0.25), (0.25, 0.5)])
def test_offset_between_sound_and_picture(tmp_path: Path, kind: str, first: float, second: float) -> None:
    picture = numbered(tmp_path / "v.mp4", 25, *X264, *YUV, rate=25)
    late = ("-itsoffset", first, "-i", picture, "-itsoffset", second, "-f", "lavfi", "-i", "sine=d=1:r=48000")
    ffmpeg(*late, "-c:v", "copy", "-c:a", "pcm_s16le", tmp_path / "s.mov")
    edit(tmp_path / "s.mov", tmp_path / f"o.{kind}")
    assert abs(_apart(tmp_path / f"o.{kind}") - _apart(tmp_path / "s.mov")) <= Fraction(
        1, 48000 if kind != "mkv" else 1000
    )


def _apart(path: Path) -> Fraction:
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert video.start_time is not None and audio.start_time is not None
        return video.start_time * Fraction(video.time_base or 0) - audio.start_time * Fraction(audio.time_base or 0)


def samples(path: Path) -> np.ndarray:
    """Decode the sound from the picture's first frame on, at 48 kHz, mono."""
    return np.frombuffer(ffmpeg("-i", path, "-map", "0:a", "-f", "s16le", "-ac", 1, "-ar", 48000, "-"), "<i2").astype(
        float
    )


@pytest.mark.parametrize(
    "codec,source,kind,allowed",
    [
        ("aac", "mp4", "mp4", 1),
        ("libmp3lame", "mp4", "mov", 1),
        ("flac", "mkv", "mp4", 48),
        ("pcm_s16le", "mov", "mov", 1),
        ("aac", "mp4", "mkv", 1024),
    ],
)
def test_trimmed_sound_is_in_time(tmp_path: Path, codec: str, source: str, kind: str, allowed: int) -> None:
    path = tmp_path / f"s.{source}"
    noise = ("-f", "lavfi", "-i", "anoisesrc=d=2:r=48000:seed=7:color=pink")
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "color=s=96x64:r=25:d=2",
        *noise,
        *X264,
        *YUV,
        "-g",
        10,
        "-c:a",
        codec,
        "-b:a",
        "256k",
        path,
    )
    edit(path, tmp_path / f"o.{kind}", start=Fraction(17, 25), end=Fraction(40, 25))
    with VideoReader(tmp_path / f"o.{kind}") as reader:
        frames = list(reader)
        assert len(frames) == 23
        begins = frames[0].pts
    whole, part = samples(path), samples(tmp_path / f"o.{kind}")
    lead = 0 if kind != "mkv" else _sound_lead(tmp_path / "o.mkv", begins)
    at = 17 * 48000 // 25 + lead
    window = part[4000:20000]
    shifts = range(-2000, 2001) if allowed > 100 else range(-60, 61)
    match = max(shifts, key=lambda shift: float(window @ whole[at + 4000 + shift : at + 20000 + shift]))
    assert abs(match) <= allowed
    assert abs(len(part) - 23 * 48000 / 25) <= 2048


def _sound_lead(path: Path, begins: Fraction) -> int:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return round((Fraction(stream.start_time or 0) * Fraction(stream.time_base or 0) - begins) * 48000)


TAGS = """;FFMETADATA1
title=A walk
artist=Someone
creation_time=2024-05-06T07:08:09.000000Z
location=+54.1843-002.7189/
com.apple.quicktime.make=Phone
[CHAPTER]
TIMEBASE=1/1000
START=0
END=1000
title=One
[CHAPTER]
TIMEBASE=1/1000
START=1000
END=2000
title=Two
"""
TITLES = "1\n00:00:00,200 --> 00:00:00,800\nHello\n\n2\n00:00:01,100 --> 00:00:01,900\nBye <i>now</i>\n\n"


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tags")
    (folder / "tags.txt").write_text(TAGS)
    (folder / "titles.srt").write_text(TITLES)
    clip = ("-f", "lavfi", "-i", "color=s=96x64:r=25:d=2", "-i", folder / "tags.txt", "-i", folder / "titles.srt")
    chosen = ("-map", 0, "-map", 2, "-map_metadata", 1, "-map_chapters", 1, "-timecode", "01:02:03:04")
    flags = ("-movflags", "use_metadata_tags", "-c:s", "mov_text", "-metadata:s:s:0", "language=eng")
    ffmpeg(*clip, *chosen, *X264, *YUV, *flags, folder / "a.mov")
    return folder / "a.mov"


@pytest.mark.parametrize("kind", ["mov", "mp4", "mkv"])
def test_tags_chapters_and_subtitles(labelled: Path, tmp_path: Path, kind: str) -> None:
    edit(labelled, tmp_path / f"1.{kind}")
    edit(tmp_path / f"1.{kind}", tmp_path / f"2.{kind}")
    for number in (1, 2):
        info = probe(tmp_path / f"{number}.{kind}")
        lower = {key.lower(): value for key, value in info.metadata.items()}
        assert lower["title"] == "A walk" and lower["artist"] == "Someone"
        assert lower["creation_time"] == "2024-05-06T07:08:09.000000Z"
        assert lower["location"] == "+54.1843-002.7189/" and lower["com.apple.quicktime.make"] == "Phone"
        assert lower["timecode"] == "01:02:03:04"
        assert [(c.start, c.end, c.metadata["title"]) for c in info.chapters] == [(0, 1, "One"), (1, 2, "Two")]
        assert [track.language for track in info.subtitles] == ["eng"]
        assert [text for _, text in titles(tmp_path / f"{number}.{kind}")] == ["Hello", "Bye"]
        assert not [key for key in lower if key.startswith(("major", "minor", "compatible", "encoder"))]


def titles(path: Path) -> list[tuple[float, str]]:
    """List the starts and first words of subtitles."""
    found = []
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.subtitles[0]):
            text = (
                bytes(packet)[2:] if container.streams.subtitles[0].codec_context.name == "mov_text" else bytes(packet)
            )
            if packet.size > 2 and packet.pts is not None:
                words = text.replace(b"<i>", b"").decode("utf-8", "ignore").split()
                found.append((float(packet.pts * packet.time_base), words[0]))
    return found


@pytest.mark.parametrize("kind", ["mov", "mp4", "mkv"])
def test_trimming_shifts_chapters_and_subtitles(labelled: Path, tmp_path: Path, kind: str) -> None:
    edit(labelled, tmp_path / f"o.{kind}", start=Fraction(3, 5), end=Fraction(3, 2))
    info = probe(tmp_path / f"o.{kind}")
    times = [(chapter.start, chapter.end) for chapter in info.chapters]
    assert times == [(0, Fraction(2, 5)), (Fraction(2, 5), Fraction(9, 10))]
    assert titles(tmp_path / f"o.{kind}") == [(0.0, "Hello"), (0.5, "Bye")]
    edit(labelled, tmp_path / f"p.{kind}", start=1)
    assert [chapter.metadata["title"] for chapter in probe(tmp_path / f"p.{kind}").chapters] == ["Two"]


def test_no_sound_when_asked(two_tracks: tuple[str, Path], tmp_path: Path) -> None:
    _, source = two_tracks
    with VideoReader(source, max_frames=3) as reader:
        writer = VideoWriter(tmp_path / "o.mp4", like=reader.info, audio="none", record="edited")
        for frame in reader:
            writer.write(frame.rgb, frame.pts, frame.duration)
        writer.close()
    info = probe(tmp_path / "o.mp4")
    assert not info.audio and info.metadata["comment"] == "edited"


def test_truncated_source_with_sound_is_written(tmp_path: Path) -> None:
    picture = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=3", "-f", "lavfi", "-i", "anoisesrc=d=3")
    ffmpeg(*picture, *X264, *YUV, "-c:a", "aac", "-movflags", "+faststart", tmp_path / "w.mp4")
    data = (tmp_path / "w.mp4").read_bytes()
    (tmp_path / "t.mp4").write_bytes(data[: len(data) * 6 // 10])
    edit(tmp_path / "t.mp4", tmp_path / "o.mp4")
    (packets,) = sound_of(tmp_path / "o.mp4").values()
    assert 20 < len(packets) < 120
    with VideoReader(tmp_path / "o.mp4") as reader:
        assert len(list(reader)) > 25
