"""The encoders: name, pixel format, settings, and the file types that can hold their output."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from eve_cli.errors import OutputError, UsageError
from eve_cli.media.pictures import is_folder

SVT_PRESETS = {"ultrafast": "12", "veryfast": "10", "fast": "9", "medium": "8", "slow": "5", "veryslow": "3"}
VIDEO_TYPES = (".mp4", ".mov", ".mkv", ".webm", ".gif")
Options = Callable[[float, str], dict[str, str]]


@dataclass(frozen=True)
class Codec:
    """One encoder; `options` turns (crf, preset) into the encoder's own settings.

    `alpha` has the samples that keep transparency, by type of file.
    """

    encoder: str
    pixel_format: str
    options: Options
    types: tuple[str, ...] = (".mp4", ".mov", ".mkv")
    crf: float = 16
    worst_crf: int | None = None
    """The largest crf that the encoder takes; None where it has no such setting."""
    tags: Mapping[str, str] = field(default_factory=dict)
    even: bool = False
    alpha: Mapping[str, str] = field(default_factory=dict)


def _x264(crf: float, preset: str) -> dict[str, str]:
    # With macroblock trees, x264's AVX-512 code gives other bytes each time; without, sizes differ by a fifth at most.
    return {"crf": f"{crf:g}", "preset": preset, "x264-params": "mbtree=0"}


def _x265(crf: float, preset: str) -> dict[str, str]:
    return {"crf": f"{crf:g}", "preset": preset, "x265-params": "log-level=none"}


def _svt(crf: float, preset: str) -> dict[str, str]:
    os.environ.setdefault("SVT_LOG", "1")  # errors only
    return {"crf": f"{crf:g}", "preset": SVT_PRESETS.get(preset, preset)}


def _vp9(crf: float, preset: str) -> dict[str, str]:
    return {"crf": f"{crf:g}", "b": "0", "cpu-used": "2" if preset in ("slow", "veryslow") else "4", "row-mt": "1"}


def _nvenc(crf: float, preset: str) -> dict[str, str]:
    return {"rc": "vbr", "cq": f"{crf:g}", "preset": "p5"}


def _none(crf: float, preset: str) -> dict[str, str]:
    return {}


HVC1 = {".mp4": "hvc1", ".mov": "hvc1"}
SEE_THROUGH = {".webm": "yuva420p", ".mkv": "yuva420p"}
PRORES_4444 = {".mov": "yuva444p10le", ".mkv": "yuva444p10le"}
CODECS: dict[str, Codec] = {
    "h264": Codec("libx264", "yuv420p", _x264, worst_crf=51, even=True),
    "hevc": Codec("libx265", "yuv420p10le", _x265, crf=18, worst_crf=51, tags=HVC1, even=True),
    "av1": Codec("libsvtav1", "yuv420p10le", _svt, (".mp4", ".mov", ".mkv", ".webm"), crf=24, worst_crf=63),
    "vp9": Codec("libvpx-vp9", "yuv420p", _vp9, (".webm", ".mkv", ".mp4"), crf=24, worst_crf=63, alpha=SEE_THROUGH),
    # prores_ks takes the profile from the samples: HQ, or 4444 with transparency.
    "prores": Codec("prores_ks", "yuv422p10le", _none, (".mov", ".mkv"), even=True, alpha=PRORES_4444),
    "ffv1": Codec("ffv1", "bgr0", lambda crf, preset: {"level": "3"}, (".mkv",), alpha={".mkv": "bgra"}),
    "gif": Codec("gif", "pal8", _none, (".gif",), alpha={".gif": "pal8"}),
    "h264_nvenc": Codec("h264_nvenc", "yuv420p", _nvenc, worst_crf=51, even=True),
    "hevc_nvenc": Codec("hevc_nvenc", "yuv420p", _nvenc, worst_crf=51, tags=HVC1, even=True),
}
FALLBACKS = {"h264_nvenc": "h264", "hevc_nvenc": "hevc"}


def choose(name: str, codec: str) -> Codec:
    """Choose the encoder for a file; .webm and .gif bring their own where the default is requested."""
    kind = os.path.splitext(name)[1].lower()
    if kind not in VIDEO_TYPES:
        raise OutputError(f"{name}: unknown video type; use .mp4 .mov .mkv .webm .gif or a folder/")
    if codec not in CODECS:
        raise UsageError(f'no codec called "{codec}"; known are {", ".join(CODECS)}')
    if codec == "h264" and kind in (".webm", ".gif"):
        codec = {".webm": "vp9", ".gif": "gif"}[kind]
    selected = working(codec)
    if kind not in selected.types:
        raise OutputError(f"{name}: {codec} does not go into {kind}; use {' or '.join(selected.types)}")
    return selected


def check_quality(name: str, codec: str, crf: int | None, lossless: bool) -> None:
    """UsageError where the encoder of a file does not take a crf, or has no lossless mode."""
    with_crf = [name for name, each in CODECS.items() if each.worst_crf]
    selected = None if is_folder(name) else choose(name, codec)
    label = "a folder of PNG files" if selected is None else selected.encoder
    if crf is not None and lossless:
        raise UsageError(f"--crf {crf}: --lossless keeps every pixel and leaves no quality to choose; give one.")
    if crf is not None and (selected is None or selected.worst_crf is None):
        raise UsageError(f"--crf {crf}: {label} has no such setting; it goes with {', '.join(with_crf)}.")
    if crf is not None and selected is not None and crf > (selected.worst_crf or 0):
        raise UsageError(f"--crf {crf}: {label} takes 0 to {selected.worst_crf}; smaller is better.")
    if lossless and (selected is None or selected.encoder not in ("libx264", "ffv1")):
        raise UsageError(f"--lossless goes with h264 in .mp4, .mov or .mkv, or with ffv1 in .mkv, not with {label}.")


def notes(selected: Codec | None, requested: str) -> list[str]:
    """A note where another encoder than the requested one is used because this machine lacks it."""
    if selected is None or requested not in FALLBACKS or selected is CODECS[requested]:
        return []
    return [f"{requested} does not work on this machine (no NVIDIA encoder); {selected.encoder} is used instead"]


def working(codec: str) -> Codec:
    """The codec, or its software equivalent where this machine's graphics card cannot encode."""
    software = FALLBACKS.get(codec)
    return CODECS[codec] if software is None or _opens(CODECS[codec]) else CODECS[software]


def _opens(codec: Codec) -> bool:
    import av

    try:
        context: Any = av.CodecContext.create(codec.encoder, "w")
        context.width, context.height, context.pix_fmt = 256, 256, codec.pixel_format
        context.framerate = 25
        context.open()
    except (av.FFmpegError, OSError, ValueError):
        return False
    return True
