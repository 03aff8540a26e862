"""Decoded pictures of an input with their times; damage is skipped, counted and reported."""

from __future__ import annotations

import dataclasses
import subprocess
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from eve_cli.errors import InputError
from eve_cli.media import discontinuities, frame_decoder, probe
from eve_cli.media.clip import Report, VideoInfo
from eve_cli.media.images import Animation, Images, is_animation
from eve_cli.media.input_resolver import ResolvedInput, UnknownFormat

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

TOLERATED_DAMAGE = Fraction(1, 5)


class Pictures(Protocol):
    """Decoded pictures: of picture files, an animation or a video file."""

    info: VideoInfo

    def frames(self, start: Fraction | None, errors: str, report: Report) -> Iterator[tuple[VideoFrame, Fraction]]:
        """Yield pictures in order with their times in seconds; some before `start` may be among them."""
        ...


def open_pictures(source: ResolvedInput, fps: Fraction | None) -> Pictures:
    """Open a source: pictures one by one, or a video file."""
    if source.pictures:
        return Images(source, fps or Fraction(25))
    if is_animation(source.path):
        return Animation(source)
    try:
        return VideoFile(source)
    except UnknownFormat:
        converted = _converted(source)
        if converted is None:
            raise
        source.temporary = converted.temporary
        return VideoFile(converted)


def _converted(source: ResolvedInput) -> ResolvedInput | None:
    """A lossless temporary copy by the ffmpeg program of imageio-ffmpeg, sound unchanged; None on failure."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        program = get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None
    with tempfile.NamedTemporaryFile(prefix="eve-", suffix=".mkv", delete=False) as file:
        target = Path(file.name)
    input_options = ["-v", "error", "-nostdin", "-y", "-protocol_whitelist", "file", "-i", f"file:{source.path}"]
    output_options = ["-map", "0:V:0", "-map", "0:a?", "-c:v", "ffv1", "-c:a", "copy", "-fps_mode", "passthrough"]
    process = subprocess.run(
        [program, *input_options, *output_options, f"file:{target}"], capture_output=True, check=False
    )
    if process.returncode:
        target.unlink(missing_ok=True)
        return None
    return dataclasses.replace(source, path=target, temporary=[*source.temporary, target])


@lru_cache(maxsize=64)
def _timeline(name: str, path: Path, size: int, changed: int) -> discontinuities.Timeline:
    """The parts of a file, whose packets are all read for it: once for each content, given by its size and time."""
    with probe.open_file(name, path) as container:
        return discontinuities.timeline(container, probe.pick_stream(name, container).index)


class VideoFile:
    """A video file, opened again for each pass."""

    _end: Fraction | None = None

    def __init__(self, source: ResolvedInput) -> None:
        self._source = source
        with self._open() as container:
            first = self._first(container)
        status = source.path.stat()
        timeline = _timeline(source.name, source.path, status.st_size, status.st_mtime_ns)
        with self._open() as container:
            stream = probe.pick_stream(source.name, container)
            self.info = probe.describe(source.name, source.path, container, stream, first, timeline)

    def _open(self) -> InputContainer:
        return probe.open_file(self._source.name, self._source.path)

    def _first(self, container: InputContainer) -> VideoFrame:
        """Decode the first frame, whatever is damaged before it."""
        for frame in frame_decoder.decode_tolerant(container, self._source.name, None, self._open, Report()):
            return frame
        raise InputError(f"{self._source.name}: no frame could be decoded")

    def frames(self, start: Fraction | None, errors: str, report: Report) -> Iterator[tuple[VideoFrame, Fraction]]:
        """Decode from a keyframe at or before `start`, or from the first one where the file's own times lead astray."""
        target = None if start is None or self.info.timeline.offsets else start + self.info.origin
        try:
            yield from self._timed(self._decoded(target, errors, report), report)
        finally:
            self._count_damage(report)
        self._check_complete(errors, report)

    def _decoded(self, target: Fraction | None, errors: str, report: Report) -> Iterator[VideoFrame]:
        """Decode with threads, and without them from the first damage on."""
        name, timeline, last = self._source.name, self.info.timeline, None
        try:
            with self._open() as container:
                for frame in frame_decoder.decode_threaded(container, name, target, self._open, timeline):
                    last = last if frame.pts is None else frame.pts
                    report.decoded += 1
                    yield frame
            return
        except frame_decoder.DamageError:
            if errors == "raise":
                raise InputError(f"{name}: a frame is damaged") from None
        resume = target if last is None or timeline.offsets else last * self.info.time_base
        done = report.decoded if last is None else 0
        with self._open() as container:
            decoded = frame_decoder.decode_tolerant(container, name, resume, self._open, report, timeline)
            for number, frame in enumerate(decoded):
                if number >= done and (last is None or frame.pts is None or frame.pts > last):
                    report.decoded += 1
                    yield frame

    def _timed(self, decoded: Iterator[VideoFrame], report: Report) -> Iterator[tuple[VideoFrame, Fraction]]:
        """Give each frame a time after the one before it, from the file where it has one."""
        info = self.info
        last: Fraction | None = None
        for frame in frame_decoder.deinterlaced(decoded, info, report):
            pts = None if frame.pts is None else frame.pts * Fraction(frame.time_base or info.time_base) - info.origin
            if pts is None or (last is not None and pts <= last):
                pts = info.start if last is None else last + 1 / info.fps
            last = pts
            self._end = pts + max(1 / info.fps, (frame.duration or 0) * Fraction(frame.time_base or info.time_base))
            yield frame, pts

    def _count_damage(self, report: Report) -> None:
        total = report.decoded + report.corrupt
        if report.corrupt:
            report.warn(f"{self.info.name}: {report.corrupt} of {total} frames were damaged and skipped")

    def _check_complete(self, errors: str, report: Report) -> None:
        """Report what was damaged or missing after the last frame."""
        info, total = self.info, report.decoded + report.corrupt
        if report.corrupt and errors != "keep" and report.corrupt > TOLERATED_DAMAGE * total:
            raise InputError(f"{info.name}: {report.corrupt} of {total} frames damaged; giving up, get the file again")
        if info.duration is None or self._end is None:
            return
        end, promised = self._end, info.start + info.duration
        if promised - end > 1 / info.fps + info.duration / 20:
            report.truncated = True
            report.warn(
                f"{info.name}: ends at {float(end):.1f} s though its header says {float(promised):.1f} s; "
                "edited what is there"
            )
