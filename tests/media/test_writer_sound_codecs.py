"""The picture never dies of its sound: every codec, layout and rate into every type of file."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from eve_cli.media import audio, audio_encoder
from tests.media.make import X264, ffmpeg
from tests.media.test_writer_sound import edit, sound_of

KINDS = ("mp4", "mov", "mkv", "webm")
PICTURE = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=10:d=0.5")
RATES = ((2, 44100), (2, 48000), (1, 16000), (1, 8000))
H264 = (*X264, "-pix_fmt", "yuv420p")


@cache
def encoders() -> list[str]:
    """The sound encoders of the ffmpeg program."""
    listing = subprocess.run([get_ffmpeg_exe(), "-hide_banner", "-encoders"], capture_output=True, text=True).stdout
    return re.findall(r"^ A[.A-Z]{5} (\w+)", listing, re.MULTILINE)


def with_sound(folder: Path, encoder: str) -> Path | None:
    """Half a second of picture and of sound by an encoder, in the first container that holds it."""
    for kind in ("mkv", "nut", "mov", "avi"):
        path = folder / f"{encoder}.{kind}"
        for channels, rate in RATES:
            sound = ("-f", "lavfi", "-i", f"sine=d=0.5:r={rate}", "-ac", channels, "-strict", -2, "-c:a", encoder)
            command = [get_ffmpeg_exe(), "-v", "quiet", "-y", *PICTURE, *map(str, sound), "-c:v", "mjpeg", str(path)]
            if subprocess.run(command, check=False).returncode == 0:
                return path
    return None


def contents(path: Path) -> tuple[int, list[float]]:
    """The number of pictures, and the seconds of each sound track, as decoded."""
    with av.open(str(path)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    with av.open(str(path)) as container:
        tracks = len(container.streams.audio)
    seconds = []
    for number in range(tracks):
        with av.open(str(path)) as container:
            rate = container.streams.audio[number].codec_context.sample_rate
            seconds.append(sum(frame.samples for frame in container.decode(audio=number)) / rate)
    return frames, seconds


@pytest.mark.slow
@pytest.mark.parametrize("share", range(4))
def test_every_sound_codec_goes_into_every_type(tmp_path: Path, share: int) -> None:
    done = 0
    for encoder in encoders()[share::4]:
        source = with_sound(tmp_path, encoder)
        if source is None:
            continue  # of a game or of Bluetooth: no container of a video holds it
        done += 1
        for kind in KINDS:
            notes = edit(source, tmp_path / f"{encoder}.out.{kind}")
            frames, seconds = contents(tmp_path / f"{encoder}.out.{kind}")
            assert frames == 5 and len(seconds) == 1 and 0.4 < seconds[0] < 1.3, (encoder, kind, notes)
    assert done >= 8


@pytest.mark.parametrize("kind", KINDS)
def test_sound_without_a_layout_has_the_usual_one(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "camera.avi"
    sound = ("-f", "lavfi", "-i", "sine=d=0.5:r=44100", "-ac", 2, "-c:a", "pcm_s16le")
    ffmpeg(*PICTURE, *sound, "-c:v", "mjpeg", source)
    notes = edit(source, tmp_path / f"o.{kind}")
    assert contents(tmp_path / f"o.{kind}")[0] == 5
    with av.open(str(tmp_path / f"o.{kind}")) as container:
        assert container.streams.audio[0].codec_context.layout.nb_channels == 2
    copies = kind in ("mov", "mkv")
    assert bool(notes) != copies and all("pcm_s16le sound does not go into" in note for note in notes)


@pytest.mark.parametrize(
    ("channels", "encoder", "kind", "layout"),
    [("5.1(side)", "ac3", "webm", "5.1"), ("7.1.4", "pcm_s16le", "mp4", "5.1"), ("quad", "flac", "mov", "quad")],
)
def test_a_layout_that_the_encoder_lacks_becomes_the_nearest(
    tmp_path: Path, channels: str, encoder: str, kind: str, layout: str
) -> None:
    source = tmp_path / "source.mkv"
    sound = ("-f", "lavfi", "-i", f"anullsrc=cl={channels}:d=0.5", "-c:a", encoder)
    ffmpeg(*PICTURE, *sound, *H264, source)
    (note,) = edit(source, tmp_path / f"o.{kind}")
    with av.open(str(tmp_path / f"o.{kind}")) as container:
        assert container.streams.audio[0].codec_context.layout.name == layout
    assert (f"in the layout {layout} instead of {channels}" in note) == (layout != channels)


@pytest.mark.parametrize("kind", KINDS)
def test_a_track_without_packets_is_left_out_with_a_note(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "empty.mkv"
    ffmpeg(*PICTURE, "-f", "lavfi", "-i", "sine=d=0.5", *H264, "-c:a", "ac3", "-bsf:a", "noise=drop=1", source)
    (note,) = edit(source, tmp_path / f"o.{kind}")
    assert contents(tmp_path / f"o.{kind}") == (5, []) and "holds no sound here and is left out" in note


def test_a_part_after_the_end_of_the_sound_is_silent(tmp_path: Path) -> None:
    source = tmp_path / "short.mkv"
    ffmpeg(*PICTURE, "-f", "lavfi", "-i", "sine=d=0.1", *H264, "-c:a", "ac3", source)
    (note,) = edit(source, tmp_path / "o.mp4", start=0.3)  # an mp4 with AC-3 but no packet of it cannot be closed
    assert contents(tmp_path / "o.mp4") == (2, []) and "holds no sound here" in note


def heard(path: Path) -> list[tuple[float, float]]:
    """Where sound begins and ends, in seconds after the first picture; silence of less than 0.3 s is none."""
    with av.open(str(path)) as container:
        first = next(frame.time or 0.0 for frame in container.decode(video=0))
    spans: list[tuple[float, float]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            start = (frame.time or 0.0) - first
            end = start + frame.samples / frame.sample_rate
            follows = spans and start - spans[-1][1] < 0.3
            spans = [*spans[:-1], (spans[-1][0], end)] if follows else [*spans, (start, end)]
    return spans


FORMS = ((2, 48000), (6, 48000), (1, 44100))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoder", ["ac3", "aac"])
def test_sound_that_changes_its_layout_and_rate(tmp_path: Path, encoder: str, kind: str) -> None:
    source = tmp_path / "broadcast.ts"
    for number, (channels, rate) in enumerate(FORMS):
        sound = ("-f", "lavfi", "-i", f"sine=d=1:f=1000:r={rate}", "-ac", channels, "-c:a", encoder)
        part = tmp_path / f"{number}.ts"
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=96x64:r=10:d=1", *sound, *H264, "-output_ts_offset", number, part)
        source.write_bytes((source.read_bytes() if number else b"") + part.read_bytes())
    notes = " ".join(edit(source, tmp_path / f"o.{kind}"))
    assert ("that changes its layout or rate" in notes) == (encoder == "aac")
    frames, (seconds,) = contents(tmp_path / f"o.{kind}")
    assert frames == 30 and ((kind != "webm" and encoder == "ac3") or abs(seconds - 3) < 0.1)
    ((start, end),) = heard(tmp_path / f"o.{kind}")
    assert abs(start) < 0.1 and abs(end - 3) < 0.1
    data = ffmpeg("-i", tmp_path / f"o.{kind}", "-map", "0:a", "-f", "s16le", "-ac", 1, "-ar", 48000, "-")
    samples = np.frombuffer(data, "<i2").astype(float)
    for second in (0.5, 1.5, 2.5):  # the pitch shows that no part is played at another rate
        part = samples[round((second - 0.2) * 48000) : round((second + 0.2) * 48000)]
        assert abs(np.abs(np.fft.rfft(part)).argmax() * 48000 / len(part) - 1000) < 5


@pytest.mark.parametrize("kind", KINDS)
def test_sound_that_begins_after_the_cut_is_left_out(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "late.mkv"  # an mp4 with AC-3 but no packet of it cannot be closed
    sound = ("-itsoffset", 0.4, "-f", "lavfi", "-i", "sine=d=0.5:r=48000", "-c:a", "ac3")
    ffmpeg(*PICTURE, *sound, *H264, source)
    (note,) = edit(source, tmp_path / f"o.{kind}", end=0.3)
    assert contents(tmp_path / f"o.{kind}") == (3, []) and "holds no sound here" in note


def test_what_only_the_real_file_refuses_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source.mkv"
    ffmpeg(*PICTURE, "-f", "lavfi", "-i", "sine=d=0.5", "-c:a", "adpcm_ms", *H264, source)
    monkeypatch.setattr(audio.SourceTracks, "_trial", lambda *_: 1)  # as if a trial were no proof
    monkeypatch.setattr(audio.SourceTracks, "_encoded_audio", audio.SourceTracks._copied_audio)
    monkeypatch.setattr(audio.SourceTracks, "_note_encoded", lambda *_: None)
    (note,) = edit(source, tmp_path / "o.mp4")
    assert contents(tmp_path / "o.mp4") == (5, []) and note.startswith(".mp4 does not take the sound of")


@pytest.mark.parametrize("kind", ["mp4", "mov", "webm"])
def test_sound_that_fails_on_the_way_costs_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    source = tmp_path / "source.mkv"
    ffmpeg(*PICTURE, "-f", "lavfi", "-i", "sine=d=1:r=48000", "-c:a", "wmav2", *H264, source)
    of, calls = audio_encoder.EncoderFrames.of, iter(range(1000))

    def broken(self: audio_encoder.EncoderFrames, frame: av.AudioFrame) -> Iterator[av.AudioFrame]:
        if next(calls) in (15, 18):  # behind what is tried beforehand
            raise ValueError("a frame that no resampler takes")
        return of(self, frame)

    monkeypatch.setattr(audio_encoder.EncoderFrames, "of", broken)
    notes = edit(source, tmp_path / f"o.{kind}")
    assert contents(tmp_path / f"o.{kind}")[0] == 5
    assert any("damaged sound was skipped" in note for note in notes)


def test_dts_is_copied_into_matroska(tmp_path: Path) -> None:
    source = tmp_path / "source.mkv"
    ffmpeg(*PICTURE, "-f", "lavfi", "-i", "sine=d=0.5:r=48000", "-strict", -2, "-c:a", "dca", *H264, source)
    assert edit(source, tmp_path / "o.mkv") == []
    assert list(sound_of(source).values()) == list(sound_of(tmp_path / "o.mkv").values())


@pytest.mark.parametrize("kind", ["mp4", "mov", "webm"])
def test_a_pause_in_sound_that_is_encoded_again_stays(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source.mkv"
    sound = ("-f", "lavfi", "-i", "sine=d=3:r=48000", "-af", "aselect='lt(t,0.5)+gt(t,2)'", "-c:a", "wmav2")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=96x64:r=10:d=3", *sound, *H264, source)
    edit(source, tmp_path / f"o.{kind}")
    assert np.allclose(heard(tmp_path / f"o.{kind}"), [(0, 0.5), (2, 3)], atol=0.06)


@pytest.mark.parametrize("kind", KINDS)
def test_sound_before_an_edit_list_stays_hidden(tmp_path: Path, kind: str) -> None:
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    sound = ("-f", "lavfi", "-i", "sine=d=3:r=48000", "-c:a", "aac")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=96x64:r=10:d=3", *sound, *H264, "-g", 30, whole)
    ffmpeg("-ss", 1.55, "-i", whole, "-c", "copy", cut)
    edit(cut, tmp_path / f"o.{kind}")
    ((start, end),), ((_, expected),) = heard(tmp_path / f"o.{kind}"), heard(cut)
    assert -0.05 < start < 0.03 and abs(end - expected) < 0.03
