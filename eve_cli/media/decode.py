"""Frames of a clip as RGB, each distinct picture once, in order, with its exact time."""

from __future__ import annotations

import dataclasses
import itertools
import os
import weakref
from collections.abc import Generator, Iterator
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from eve_cli.errors import InputError
from eve_cli.media import color, demuxer, input_resolver, seek
from eve_cli.media.clip import Frame, Report, VideoInfo
from eve_cli.media.threads import read_ahead

if TYPE_CHECKING:
    from av import VideoFrame

Errors = Literal["skip", "keep", "raise"]


class TimedPicture(NamedTuple):
    """A decoded picture, when it is shown and how long (seconds), and its number among those read."""

    picture: VideoFrame
    pts: Fraction
    duration: Fraction
    source: int


class VideoReader:
    """Read a clip frame by frame in bounded memory; see `Frame`, `VideoInfo` and `Report`.

    `start` and `end` are seconds from the clip's zero (first frame >= start, last < end); `size` is (width, height);
    `fps` samples the frame shown at each k/fps; `errors` is "skip" (give up above 20 % damage), "keep" or "raise".
    """

    def __init__(
        self,
        src: str | os.PathLike[str],
        start: float | Fraction | None = None,
        end: float | Fraction | None = None,
        size: tuple[int, int] | None = None,
        fps: float | Fraction | None = None,
        max_frames: int | None = None,
        errors: Errors = "skip",
    ) -> None:
        self._source = input_resolver.resolve(src)
        self._start = None if not start else _exact(start)
        self._end = None if end is None else _exact(end)
        self._size, self._fps, self._max_frames, self._errors = size, fps, max_frames, errors
        self.report = Report()
        self._running: weakref.ref[Generator[Frame, None, None]] | None = None
        try:
            info = self._open(fps)
        except BaseException:
            self._source.close()
            raise
        weakref.finalize(self, self._source.close)
        self.info: VideoInfo = info
        self.report.warnings.extend(info.notes)

    def _open(self, fps: float | Fraction | None) -> VideoInfo:
        self._pictures = demuxer.open_pictures(self._source, None if fps is None else _exact(fps))
        info = self._pictures.info
        trusted = info.duration is not None and any(kind in info.container for kind in seek.INDEXED)
        if trusted and self._start is not None and self._start >= info.start + (info.duration or 0):
            raise _past_the_end(info, self._start, info.duration)
        return dataclasses.replace(info, cut_start=self._start is not None, cut_end=self._cut_end(info))

    def _cut_end(self, info: VideoInfo) -> Fraction | None:
        """Where reading ends before the source does, in seconds; an estimate where frames are counted."""
        ends = [] if self._end is None else [self._end]
        if self._max_frames is not None:
            rate = info.fps if self._fps is None else _exact(self._fps)
            ends.append((self._start or info.start) + self._max_frames / rate)
        return min(ends, default=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        self._stop()
        report = Report(warnings=list(self.info.notes))
        self.report = report
        running = read_ahead(self._frames(report))
        # A weak reference: when the caller drops the iterator, its thread ends.
        self._running = weakref.ref(running)
        return running

    def close(self) -> None:
        """Stop reading and remove what was spooled."""
        self._stop()
        self._source.close()

    def _stop(self) -> None:
        running = self._running() if self._running is not None else None
        if running is not None:
            running.close()

    def _frames(self, report: Report) -> Generator[Frame, None, None]:
        pictures: Iterator[TimedPicture] = _timed(self._pictures.frames(self._start, self._errors, report), self.info)
        pictures = self._cut(pictures)
        if self._fps is not None:
            pictures = _sampled(pictures, _exact(self._fps))
        if self._max_frames is not None:
            pictures = itertools.islice(pictures, self._max_frames)
        convert = _Converter(self.info, self._size, report)
        index = -1
        for index, (picture, pts, duration, source) in enumerate(pictures):
            rgb, alpha = convert(picture)
            yield Frame(index, pts, duration, rgb, alpha, source)
        if report.decoded == 0:
            raise InputError(f"{self.info.name}: no frame could be decoded")
        if index < 0 and self._start is not None:
            raise _past_the_end(self.info, self._start, self.info.duration)

    def _cut(self, pictures: Iterator[TimedPicture]) -> Iterator[TimedPicture]:
        """The pictures from start to end; the last one of all if it is still held at the start."""
        held: TimedPicture | None = None
        for each in pictures:
            if self._start is not None and each.pts < self._start:
                held = each
                continue
            if self._end is not None and each.pts >= self._end:
                break
            held = None
            yield self._until_end(each)
        if held is not None and self._start is not None and held.pts + held.duration > self._start:
            left = held.pts + held.duration - self._start
            if self._end is None or self._start < self._end:
                yield self._until_end(held._replace(pts=self._start, duration=left))

    def _until_end(self, picture: TimedPicture) -> TimedPicture:
        """The picture, held no longer than to the end, but for a frame at least."""
        if self._end is None:
            return picture
        longest = max(self._end - picture.pts, 1 / self.info.fps)
        return picture._replace(duration=min(picture.duration, longest))


def probe(source: str | os.PathLike[str]) -> VideoInfo:
    """The properties of a clip; InputError with the reason if it cannot be read."""
    with VideoReader(source) as reader:
        return reader.info


def _exact(seconds: float | Fraction) -> Fraction:
    return Fraction(seconds) if isinstance(seconds, (int, Fraction)) else Fraction(seconds).limit_denominator(1_000_000)


def _past_the_end(info: VideoInfo, start: Fraction, length: Fraction | None) -> InputError:
    length_text = "the clip ends before" if length is None else f"{info.name} is {float(length):.1f} s long"
    return InputError(f"--start {float(start):g}s is past the end ({length_text})")


def _timed(pictures: Iterator[tuple[VideoFrame, Fraction]], info: VideoInfo) -> Iterator[TimedPicture]:
    """Snap constant-rate times to their exact grid, and give each frame the time until the next one."""
    waiting: tuple[VideoFrame, Fraction] | None = None
    number = 0
    for picture, raw in pictures:
        pts = _snapped(raw, info)
        if waiting is not None:
            yield TimedPicture(waiting[0], waiting[1], pts - waiting[1], number)
            number += 1
        waiting = (picture, pts)
    if waiting is not None:
        yield TimedPicture(waiting[0], waiting[1], _last_duration(*waiting, info), number)


def _snapped(pts: Fraction, info: VideoInfo) -> Fraction:
    if info.is_vfr:
        return pts
    exact = info.start + round((pts - info.start) * info.fps) / info.fps
    return exact if abs(exact - pts) <= info.time_base else pts


def _last_duration(picture: VideoFrame, pts: Fraction, info: VideoInfo) -> Fraction:
    """What the file says, which animations use to hold their last picture; at constant rate at least a frame."""
    duration = Fraction(picture.duration or 0) * info.time_base
    if info.last_duration is not None and info.duration is not None:
        duration = min(info.last_duration, info.start + info.duration - pts)
    if info.is_vfr and duration > 0:
        return duration
    return duration if duration > 1 / info.fps + info.time_base and not info.interlaced else 1 / info.fps


def _sampled(pictures: Iterator[TimedPicture], fps: Fraction) -> Iterator[TimedPicture]:
    """The frame that is on screen at each k/fps."""
    first: Fraction | None = None
    k = 0
    for each in pictures:
        first = each.pts if first is None else first
        while first + k / fps < each.pts + each.duration:
            yield each._replace(pts=first + k / fps, duration=1 / fps)
            k += 1


class _Converter:
    """Turn decoded pictures into upright RGB arrays of one size, rebuilding its filter graph when they change."""

    def __init__(self, info: VideoInfo, size: tuple[int, int] | None, report: Report) -> None:
        self._info = info
        width, height = size or (info.width, info.height)
        self._size = (height, width) if info.orientation.transpose else (width, height)
        self._report = report
        self._key: object = None

    def __call__(self, picture: VideoFrame) -> tuple[color.Picture, color.Picture | None]:
        key = (picture.width, picture.height, picture.format.name)
        if key != self._key:
            self._rebuild(picture)
            self._key = key
        (converted,) = color.run(self._graph, picture)
        upright = self._info.orientation.upright(color.planes(converted))
        return upright[:3], upright[3] if self._info.has_alpha else None

    def _rebuild(self, picture: VideoFrame) -> None:
        if self._key is not None:
            self._report.size_changes += 1
            self._report.warn(f"{self._info.name}: the picture size changes on the way; all frames get the first size")
        chain = color.to_rgb_chain(self._info.color, self._size, self._info.has_alpha)
        self._graph = color.build(picture, chain, self._info.time_base)
