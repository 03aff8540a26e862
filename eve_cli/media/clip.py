"""Records of a clip: streams, times and colours; no reading or writing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from eve_cli.media.discontinuities import ONE_PART, Timeline

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Orientation:
    """How stored pixels become upright ones: transpose first, then flip along x and y."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def upright(self, picture: Picture) -> Picture:
        """Turn a stored picture (..., height, width) upright."""
        if self.transpose:
            picture = picture.swapaxes(-1, -2)
        if self.flip_x:
            picture = picture[..., ::-1]
        return picture[..., ::-1, :] if self.flip_y else picture


@dataclass(frozen=True)
class Color:
    """Matrix, range ("tv" or "pc"), transfer and primaries in effect; `guessed` where the file names no matrix."""

    matrix: str = "bt709"
    range: str = "tv"
    transfer: str = "bt709"
    primaries: str = "bt709"
    guessed: bool = False
    rgb: bool = False

    @property
    def hdr(self) -> str | None:
        """ "pq", "hlg" or None."""
        return {"smpte2084": "pq", "arib-std-b67": "hlg"}.get(self.transfer)


@dataclass(frozen=True)
class AudioTrack:
    """One sound stream."""

    index: int
    codec: str
    sample_rate: int
    channels: int
    language: str | None = None
    title: str | None = None


@dataclass(frozen=True)
class SubtitleTrack:
    """One subtitle stream."""

    index: int
    codec: str
    language: str | None = None
    title: str | None = None


@dataclass(frozen=True)
class Chapter:
    """A named part, in seconds from the clip's zero."""

    start: Fraction
    end: Fraction
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class VideoInfo:
    """The facts of a clip; sizes are upright, times are seconds after `origin`, the common zero of sight and sound."""

    name: str
    path: str
    container: str
    codec: str
    width: int
    height: int
    coded_width: int
    coded_height: int
    orientation: Orientation
    sar: Fraction
    fps: Fraction
    is_vfr: bool
    time_base: Fraction
    origin: Fraction
    start: Fraction
    duration: Fraction | None
    expected_frames: int | None
    pixel_format: str
    bit_depth: int
    color: Color
    has_alpha: bool
    interlaced: bool
    stream_index: int = 0
    audio: tuple[AudioTrack, ...] = ()
    subtitles: tuple[SubtitleTrack, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    last_duration: Fraction | None = None
    """How long the last picture is shown, where the index of an mp4 or mov says that it is longer than a frame."""
    timeline: Timeline = ONE_PART
    """The parts between timestamp discontinuities; all times here are on the one clock that it gives."""
    marks: tuple[str, ...] = ()
    """The kinds of side data of the first frame, such as STEREO3D and SPHERICAL."""
    loop: int | None = None
    """How often an animation is repeated: 0 for ever, -1 not at all; None for what is no animation."""
    cut_start: bool = False
    cut_end: Fraction | None = None

    @property
    def stored_size(self) -> tuple[int, int]:
        """Upright width and height in stored pixels, before the pixel aspect is applied."""
        size = (self.coded_width, self.coded_height)
        return (size[1], size[0]) if self.orientation.transpose else size


@dataclass(frozen=True)
class Frame:
    """One shown picture: `rgb` uint8 (3, height, width), times in seconds, `source` the number of its decoded frame."""

    index: int
    pts: Fraction
    duration: Fraction
    rgb: Picture
    alpha: Picture | None = None
    source: int = 0


@dataclass
class Report:
    """What happened while reading."""

    decoded: int = 0
    corrupt: int = 0
    truncated: bool = False
    size_changes: int = 0
    warnings: list[str] = field(default_factory=list)

    def warn(self, sentence: str) -> None:
        """Keep a sentence for the user, once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)
