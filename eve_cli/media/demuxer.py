"""Pictures of a source with their times; damage is skipped, counted and said."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

from eve_cli.errors import InputError
from eve_cli.media import frame_decoder, probe
from eve_cli.media.clip import Report, VideoInfo
from eve_cli.media.input_resolver import Source, UnknownFormat

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

TOLERATED_DAMAGE = Fraction(1, 5)


class Pictures(Protocol):
    """What a source of decoded pictures can do."""

    info: VideoInfo

    def frames(self, start: Fraction | None, errors: str, report: Report) -> Iterator[tuple[VideoFrame, Fraction]]:
        """Give pictures in order with their times; some before `start` may come too."""
        ...


def opener(source: Source, fps: Fraction | None) -> Pictures:
    """Open a source: pictures one by one, or a video file."""
    from eve_cli.media.images import Animation, Images, is_animation

    if source.pictures:
        return Images(source, fps or Fraction(25))
    if is_animation(source.path):
        return Animation(source)
    try:
        return Container(source)
    except UnknownFormat:
        from eve_cli.media.convert import converted

        other = converted(source)
        if other is None:
            raise
        source.temporary = other.temporary
        return Container(other)


class Container:
    """A video file, opened anew for each pass."""

    _end: Fraction | None = None

    def __init__(self, source: Source) -> None:
        self._source = source
        with self._open() as container:
            first = self._first(container)
        with self._open() as container:
            stream = probe.pick_stream(source.name, container)
            self.info = probe.describe(source.name, source.path, container, stream, first)

    def _open(self) -> InputContainer:
        return probe.open_file(self._source.name, self._source.path)

    def _first(self, container: InputContainer) -> VideoFrame:
        """Decode the first frame, whatever is damaged before it."""
        for frame in frame_decoder.patient(container, self._source.name, None, self._open, Report()):
            return frame
        raise InputError(f"{self._source.name}: no frame could be decoded")

    def frames(self, start: Fraction | None, errors: str, report: Report) -> Iterator[tuple[VideoFrame, Fraction]]:
        """Decode from a keyframe at or before `start`."""
        target = None if start is None else start + self.info.origin
        try:
            yield from self._timed(self._decoded(target, errors, report), report)
        finally:
            self._count_damage(report)
        self._judge(errors, report)

    def _decoded(self, target: Fraction | None, errors: str, report: Report) -> Iterator[VideoFrame]:
        """Decode with threads, and without them from the first damage on."""
        name, last = self._source.name, None
        try:
            with self._open() as container:
                for frame in frame_decoder.threaded(container, name, target, self._open):
                    last = last if frame.pts is None else frame.pts
                    report.decoded += 1
                    yield frame
            return
        except frame_decoder.DamageError:
            if errors == "raise":
                raise InputError(f"{name}: a frame is damaged") from None
        again = target if last is None else last * self.info.time_base
        done = report.decoded if last is None else 0
        with self._open() as container:
            for number, frame in enumerate(frame_decoder.patient(container, name, again, self._open, report)):
                if number >= done and (last is None or frame.pts is None or frame.pts > last):
                    report.decoded += 1
                    yield frame

    def _timed(self, decoded: Iterator[VideoFrame], report: Report) -> Iterator[tuple[VideoFrame, Fraction]]:
        """Give each frame a time after the one before it, from the file where it has one."""
        info = self.info
        last: Fraction | None = None
        for frame in frame_decoder.progressive(decoded, info, report):
            pts = None if frame.pts is None else frame.pts * Fraction(frame.time_base or info.time_base) - info.origin
            if pts is None or (last is not None and pts <= last):
                pts = info.start if last is None else last + 1 / info.fps
            last = pts
            self._end = pts + max(1 / info.fps, (frame.duration or 0) * Fraction(frame.time_base or info.time_base))
            yield frame, pts

    def _count_damage(self, report: Report) -> None:
        seen = report.decoded + report.corrupt
        if report.corrupt:
            report.warn(f"{self.info.name}: {report.corrupt} of {seen} frames were damaged and skipped")

    def _judge(self, errors: str, report: Report) -> None:
        """Say what was damaged or missing, once all is read."""
        info, seen = self.info, report.decoded + report.corrupt
        if report.corrupt and errors != "keep" and report.corrupt > TOLERATED_DAMAGE * seen:
            raise InputError(f"{info.name}: {report.corrupt} of {seen} frames damaged; giving up (--keep-going to try)")
        if info.duration is None or self._end is None:
            return
        end, promised = self._end, info.start + info.duration
        if promised - end > 1 / info.fps + info.duration / 20:
            report.truncated = True
            report.warn(
                f"{info.name}: ends at {float(end):.1f} s though its header says {float(promised):.1f} s; "
                "edited what is there"
            )
