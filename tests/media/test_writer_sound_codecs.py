"""The picture never dies of its sound: every codec, layout and rate into every type of file."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import av
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from tests.media.make import X264, ffmpeg
from tests.media.test_writer_sound import edit

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
