"""Colour is converted by the file's own matrix and range, without bias, from all of its bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eve_cli.media.decode import VideoReader
from tests.media.make import HEIGHT, LOSSLESS, WIDTH, constant_yuv, ffmpeg, raw, read, rgb_input

# Luma weights of red and blue (ITU-R BT.601, BT.709, BT.2020).
WEIGHTS = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114), "bt2020nc": (0.2627, 0.0593)}
COLORS = [(16, 128, 128), (235, 128, 128), (126, 128, 128), (90, 100, 160), (150, 90, 110), (60, 140, 120)]
COLORS += [(180, 120, 140), (110, 150, 100)]


def reference(values: tuple[int, int, int], matrix: str, full: bool, depth: int = 8) -> np.ndarray:
    """Convert one Y'CbCr colour to RGB in floating point."""
    scale = 1 << (depth - 8)
    y, cb, cr = (np.float64(value) for value in values)
    if full:
        top = 255 * scale
        y, cb, cr = y / top, (cb - 128 * scale) / top, (cr - 128 * scale) / top
    else:
        y, cb, cr = (
            (y - 16 * scale) / (219 * scale),
            (cb - 128 * scale) / (224 * scale),
            (cr - 128 * scale) / (224 * scale),
        )
    red_weight, blue_weight = WEIGHTS[matrix]
    red, blue = y + 2 * (1 - red_weight) * cr, y + 2 * (1 - blue_weight) * cb
    green = (y - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    return np.clip(np.array([red, green, blue]) * 255, 0, 255)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [None, "bt709", "smpte170m", "bt2020nc"])
def test_matrix_and_range(tmp_path: Path, matrix: str | None, full: bool) -> None:
    tags = ("-vf", f"setparams=colorspace={matrix or 'unknown'}:range={'pc' if full else 'tv'}")
    path = constant_yuv(tmp_path / "c.mp4", COLORS, *tags)
    with VideoReader(path) as reader:
        shown = [frame.rgb[:, 20:40, 20:40].mean((1, 2)) for frame in reader]
        assert reader.info.color.guessed == (matrix is None)
    wanted = [reference(values, matrix or "smpte170m", full) for values in COLORS]
    errors = np.array(shown) - wanted
    assert np.abs(errors).max() <= 1.5
    assert abs(errors.mean()) <= 0.25  # rounding of eight colours; real clips are held to 0.05 in the writer's tests


def test_untagged_hd_is_bt709(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=c=red:s=1280x720:d=0.04", *LOSSLESS, "-pix_fmt", "yuv420p", tmp_path / "hd.mp4")
    with VideoReader(tmp_path / "hd.mp4") as reader:
        assert reader.info.color.matrix == "bt709" and reader.info.color.guessed


def test_ten_bits_are_used(tmp_path: Path) -> None:
    levels = [(level, 512, 512) for level in range(400, 420)]
    tags = ("-vf", "setparams=colorspace=bt709")
    frames = read(constant_yuv(tmp_path / "ten.mp4", levels, *tags, pixel_format="yuv420p10le"))
    for frame, values in zip(frames, levels, strict=True):
        assert np.abs(frame.rgb[:, 20:40, 20:40].mean((1, 2)) - reference(values, "bt709", False, 10)).max() <= 0.51


def test_chroma_lies_on_the_left_column(tmp_path: Path) -> None:
    size = WIDTH * HEIGHT
    cr = np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    cr[:, 24] = 190
    frame = bytes([128]) * size + bytes([128]) * (size // 4) + cr.tobytes()
    source = ("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{WIDTH}x{HEIGHT}", "-r", "25", "-i", "-")
    ffmpeg(*source, *LOSSLESS, tmp_path / "i.mp4", data=frame)
    red = read(tmp_path / "i.mp4")[0].rgb[0, 32].astype(float)
    weight = np.abs(red - np.median(red))
    assert abs((weight * np.arange(WIDTH)).sum() / weight.sum() - 48) <= 0.1


def _pq(nits: float) -> float:
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = (nits / 10000) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def _hlg(light: float) -> float:
    return (3 * light) ** 0.5 if light <= 1 / 12 else 0.17883277 * np.log(12 * light - 0.28466892) + 0.55991073


# HLG shows its reference white (203 nits on a 1000-nit screen) at 75 % signal.
RAMPS = {
    "pq": ("smpte2084", [_pq(nits) for nits in (1, 10, 50, 100, 203, 500, 800, 1000)], 4),
    "hlg": ("arib-std-b67", [_hlg(light) for light in (0.002, 0.01, 0.04, 0.1, 0.265, 0.5, 0.8, 1.0)], 4),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", RAMPS)
def test_hdr_is_tone_mapped(tmp_path: Path, kind: str) -> None:
    transfer, signal, white = RAMPS[kind]
    levels = np.repeat(np.round(64 + 876 * np.array(signal)).astype("<u2"), WIDTH // len(signal))
    luma = np.broadcast_to(levels, (HEIGHT, WIDTH))
    frame = luma.tobytes() + np.full(WIDTH * HEIGHT // 2, 512, "<u2").tobytes()
    source = ("-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-s", f"{WIDTH}x{HEIGHT}", "-r", "25", "-i", "-")
    tags = ("-vf", f"setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc={transfer}:range=tv")
    ffmpeg(*source, *LOSSLESS, *tags, tmp_path / "h.mp4", data=frame)
    with VideoReader(tmp_path / "h.mp4") as reader:
        rgb = next(iter(reader)).rgb
        assert reader.info.color.hdr == kind
        assert any("HDR" in note for note in reader.report.warnings)
    shown = rgb[1, 32].reshape(len(signal), -1).mean(1)
    assert (np.diff(shown) > 0).all(), shown
    assert 130 <= shown[white] <= 200 and shown[-2] < 255, shown


def test_resizing_is_antialiased(tmp_path: Path) -> None:
    y, x = np.mgrid[0:192, 0:288]
    zone = (127.5 + 127.5 * np.cos(np.pi * (x**2 + y**2) / (2 * 288))).astype(np.uint8)
    ffmpeg(*rgb_input(288, 192), *LOSSLESS, "-pix_fmt", "yuv444p", tmp_path / "z.mp4", data=raw([np.stack([zone] * 3)]))
    rgb = read(tmp_path / "z.mp4", size=(72, 48))[0].rgb
    assert rgb.shape == (3, 48, 72)
    # Beyond a quarter of the width the rings are finer than the small picture can show: it must be grey there.
    beyond = rgb[0, :, 40:].astype(float)
    assert beyond.var() / (127.5**2 / 2) < 0.02


def test_rgb_file_is_exact(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH), np.uint8)
    ffmpeg(*rgb_input(), "-c:v", "ffv1", "-pix_fmt", "gbrp", tmp_path / "x.mkv", data=raw([picture]))
    assert (read(tmp_path / "x.mkv")[0].rgb == picture).all()
