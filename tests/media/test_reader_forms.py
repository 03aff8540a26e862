"""Forms that clips come in: turned, interlaced, transparent, of changing size, damaged, with covers, as pictures."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from eve_cli.errors import InputError
from eve_cli.media.decode import VideoReader
from tests.media.make import LOSSLESS, WIDTH, X264, barcode, ffmpeg, numbered, numbers, raw, read, rgb_input

YUV = ("-pix_fmt", "yuv420p")
ASYMMETRIC = np.zeros((3, 64, 96), np.uint8)
ASYMMETRIC[0, :16, :24], ASYMMETRIC[1, :16, 72:], ASYMMETRIC[2, 48:, :24] = 220, 200, 240


@pytest.fixture(scope="module")
def upright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("turn") / "plain.mp4"
    ffmpeg(*rgb_input(), *LOSSLESS, "-pix_fmt", "yuv444p", path, data=raw([ASYMMETRIC]))
    return path


@pytest.mark.parametrize("flip", [(), ("-display_hflip",)])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_eight_orientations(upright: Path, tmp_path: Path, degrees: int, flip: tuple[str, ...]) -> None:
    turned = tmp_path / "turned.mov"
    ffmpeg("-display_rotation", degrees, *flip, "-i", upright, "-c", "copy", turned)
    with VideoReader(turned) as reader:
        ours = next(iter(reader)).rgb
        width, height = reader.info.width, reader.info.height
    assert (width, height) == ((64, 96) if degrees in (90, 270) else (96, 64))
    theirs = ffmpeg("-i", turned, "-f", "rawvideo", "-pix_fmt", "rgb24", "-frames:v", 1, "-")
    shown = np.frombuffer(theirs, np.uint8).reshape(height, width, 3).transpose(2, 0, 1)
    assert np.abs(ours.astype(int) - shown).max() <= 8


def test_slanted_rotation_is_ignored(upright: Path, tmp_path: Path) -> None:
    ffmpeg("-display_rotation", 45, "-i", upright, "-c", "copy", tmp_path / "t.mov")
    with VideoReader(tmp_path / "t.mov") as reader:
        assert (reader.info.width, reader.info.height) == (96, 64)
        assert any("slanted" in note for note in reader.report.warnings)


@pytest.mark.parametrize(
    "codec", [("libx264", "-qp", "0", "-flags", "+ildct+ilme"), ("mpeg2video", "-flags", "+ildct+ilme")]
)
def test_interlaced_becomes_progressive(tmp_path: Path, codec: tuple[str, ...]) -> None:
    moving = (
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=96x64:r=50:d=0.8",
        "-vf",
        "gblur=4,tinterlace=interleave_top,setfield=tff",
    )
    path = tmp_path / "i.mkv"
    ffmpeg(*moving, *YUV, "-c:v", *codec, path)
    with VideoReader(path) as reader:
        frames = list(reader)
        assert reader.info.interlaced and any("interlaced" in note for note in reader.report.warnings)
    assert [frame.pts for frame in frames] == [Fraction(index, 25) for index in range(20)]
    combed = np.frombuffer(ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "gray", "-"), np.uint8).reshape(-1, 64, 96)
    ours = np.stack([frame.rgb.mean(0) for frame in frames])
    assert _comb(ours) < 0.7 * _comb(combed.astype(float))


def _comb(gray: np.ndarray) -> float:
    """Measure how much odd rows stick out from even ones."""
    return float(np.abs(gray[:, 1:-1:2] - (gray[:, :-2:2] + gray[:, 2::2]) / 2).mean())


def test_pixel_aspect(tmp_path: Path) -> None:
    numbered(tmp_path / "s.mp4", 3, *X264, *YUV, "-vf", "setsar=16/15")
    with VideoReader(tmp_path / "s.mp4") as reader:
        assert (reader.info.sar, reader.info.width, reader.info.height) == (Fraction(16, 15), 102, 64)
        assert next(iter(reader)).rgb.shape == (3, 64, 102)


ALPHA = {
    "vp9": ("a.webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-crf", "10", "-b:v", "0", "-cpu-used", "8")),
    "prores": ("a.mov", ("-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le")),
    "qtrle": ("b.mov", ("-c:v", "qtrle", "-pix_fmt", "argb")),
    "png": ("a.mkv", ("-c:v", "png", "-pix_fmt", "rgba")),
}


@pytest.mark.parametrize("kind", ALPHA)
def test_alpha(tmp_path: Path, kind: str) -> None:
    name, codec = ALPHA[kind]
    ramp = "color=c=0x8040C0:s=96x64:r=10:d=0.3,format=rgba,geq=r=128:g=64:b=192:a=255*X/W"
    ffmpeg("-f", "lavfi", "-i", ramp, *codec, tmp_path / name)
    with VideoReader(tmp_path / name) as reader:
        frame = list(reader)[-1]
        assert reader.info.has_alpha and frame.alpha is not None
    assert np.abs(frame.alpha[32].astype(float) - 255 * np.arange(WIDTH) / WIDTH).max() <= 3


def test_gif_alpha_and_times(tmp_path: Path) -> None:
    images = [Image.new("RGBA", (20, 10), (200, 10 * index, 0, 255)) for index in range(3)]
    for image in images:
        image.paste((0, 0, 0, 0), (0, 0, 5, 10))
    images[0].save(tmp_path / "g.gif", save_all=True, append_images=images[1:], duration=[100, 300, 200], disposal=2)
    frames = read(tmp_path / "g.gif")
    assert [frame.pts for frame in frames] == [0, Fraction(1, 10), Fraction(4, 10)]
    assert all(f.alpha is not None and f.alpha[5, 2] == 0 and f.alpha[5, 15] == 255 for f in frames)


def test_size_change(tmp_path: Path) -> None:
    one = numbered(tmp_path / "1.ts", 5, *X264, *YUV)
    other = numbered(tmp_path / "2.ts", 5, *X264, *YUV, "-vf", "scale=192:128:flags=neighbor")
    (tmp_path / "both.ts").write_bytes(one.read_bytes() + other.read_bytes())
    with VideoReader(tmp_path / "both.ts") as reader:
        frames = list(reader)
        assert reader.report.size_changes == 1
        assert sum("size changes" in note for note in reader.report.warnings) == 1
    assert {frame.rgb.shape for frame in frames} == {(3, 64, 96)}
    assert len(frames) == 10


def damaged(tmp_path: Path, packets: int) -> Path:
    """Overwrite the data of some packets in the middle of a clip of 60 lone pictures."""
    path = numbered(tmp_path / "whole.mov", 60, "-c:v", "png", "-pix_fmt", "rgb24")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for place, size in places[20 : 20 + packets]:
        data[place : place + size] = bytes(size)
    (tmp_path / "bad.mov").write_bytes(data)
    return tmp_path / "bad.mov"


def test_damage_is_skipped_and_counted(tmp_path: Path) -> None:
    with VideoReader(damaged(tmp_path, 3)) as reader:
        frames = list(reader)
        assert reader.report.corrupt == 3
        assert any("3 of 60 frames were damaged and skipped" in note for note in reader.report.warnings)
    left = [number for number in range(60) if not 20 <= number < 23]
    assert [frame.pts for frame in frames] == [Fraction(number, 30) for number in left]
    with pytest.raises(InputError, match="damaged"):
        read(tmp_path / "bad.mov", errors="raise")


def test_much_damage_is_an_error(tmp_path: Path) -> None:
    path = damaged(tmp_path, 25)
    with pytest.raises(InputError, match=r"25 of 60 frames damaged; giving up"):
        read(path)
    assert len(read(path, errors="keep")) == 35


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_truncated(tmp_path: Path, kind: str) -> None:
    whole = numbered(tmp_path / f"w.{kind}", 90, *X264, *YUV, "-g", "10", "-movflags", "+faststart")
    data = whole.read_bytes()
    (tmp_path / f"t.{kind}").write_bytes(data[: len(data) * 6 // 10])
    with VideoReader(tmp_path / f"t.{kind}") as reader:
        frames = list(reader)
        assert reader.report.truncated
        assert any("though its header says 3.0 s; edited what is there" in note for note in reader.report.warnings)
    assert 20 < len(frames) < 80 and [frame.pts for frame in frames] == [Fraction(n, 30) for n in range(len(frames))]


def test_cover_is_not_the_video(tmp_path: Path) -> None:
    Image.new("RGB", (300, 300)).save(tmp_path / "cover.png")
    clip = numbered(tmp_path / "c.mp4", 5, *X264, *YUV)
    both = ("-i", tmp_path / "cover.png", "-i", clip, "-map", 0, "-map", 1)
    ffmpeg(*both, "-c", "copy", "-disposition:v:0", "attached_pic", tmp_path / "x.mp4")
    assert numbers(tmp_path / "x.mp4") == [0, 1, 2, 3, 4]


def test_the_default_of_several_videos(tmp_path: Path) -> None:
    clip = numbered(tmp_path / "c.mp4", 5, *X264, *YUV)
    big = ("-f", "lavfi", "-i", "color=c=gray:s=192x128:r=30:d=0.1")
    both = (*big, "-i", clip, "-map", 0, "-map", 1, *X264, *YUV)
    ffmpeg(*both, "-disposition:v:0", 0, "-disposition:v:1", "default", tmp_path / "small.mkv")
    ffmpeg(*both, "-disposition:v:0", "default", "-disposition:v:1", "default", tmp_path / "large.mkv")
    assert read(tmp_path / "small.mkv")[0].rgb.shape == (3, 64, 96)
    assert read(tmp_path / "large.mkv")[0].rgb.shape == (3, 128, 192)


def test_folder_and_glob_in_natural_order(tmp_path: Path) -> None:
    folder = tmp_path / "shots"
    folder.mkdir()
    for number in (10, 2, 1):
        Image.fromarray(barcode(number).transpose(1, 2, 0)).save(folder / f"f_{number}.png")
    (folder / "notes.txt").write_text("no picture")
    assert numbers(folder) == numbers(folder / "f_*.png") == [1, 2, 10]
    assert [frame.pts for frame in read(folder, fps=2)] == [0, Fraction(1, 2), 1]


def test_animated_png_and_webp(tmp_path: Path) -> None:
    numbered(tmp_path / "a.apng", 4, "-f", "apng", "-pix_fmt", "rgb24", rate=10)
    assert numbers(tmp_path / "a.apng") == [0, 1, 2, 3]
    numbered(tmp_path / "a.webp", 4, "-c:v", "libwebp_anim", "-lossless", "1", "-loop", "0", rate=10)
    assert numbers(tmp_path / "a.webp") == [0, 1, 2, 3]
    assert [frame.pts for frame in read(tmp_path / "a.webp")] == [Fraction(index, 10) for index in range(4)]


def test_standard_input_is_spooled(tmp_path: Path) -> None:
    clip = numbered(tmp_path / "end.mp4", 5, *X264, *YUV)
    program = "from tests.media.make import numbers; print(numbers('-'))"
    root = Path(__file__).parents[2]
    with clip.open("rb") as data:
        done = subprocess.run([sys.executable, "-c", program], stdin=data, capture_output=True, text=True, cwd=root)
    assert done.stdout.strip() == "[0, 1, 2, 3, 4]", done.stderr


def test_ffmpeg_program_is_the_last_resort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eve_cli.media import input_resolver, probe

    clip = numbered(tmp_path / "odd.mp4", 5, *X264, *YUV)
    opened = probe.open_file

    def refuse(name: str, path: Path) -> object:
        if path == clip:
            raise input_resolver.UnknownFormat("unknown")
        return opened(name, path)

    monkeypatch.setattr(probe, "open_file", refuse)
    with VideoReader(clip) as reader:
        assert [frame.index for frame in reader] == [0, 1, 2, 3, 4]
        spooled = Path(reader.info.path)
    assert not spooled.exists() and clip.exists()
