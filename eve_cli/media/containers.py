"""Decoded pictures of an opened source with their times: damage is skipped and counted, interlacing removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

from eve_cli.errors import InputError
from eve_cli.media import color, probe, seek
from eve_cli.media.clip import Report, VideoInfo
from eve_cli.media.sources import Source, UnknownFormat

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

TOLERATED_DAMAGE = Fraction(1, 5)
CONSECUTIVE_ERRORS = 64


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
        report = Report()
        for frame in _decoded(container, self._source.name, None, "keep", report, self._open):
            return frame
        raise InputError(f"{self._source.name}: no frame could be decoded")

    def frames(self, start: Fraction | None, errors: str, report: Report) -> Iterator[tuple[VideoFrame, Fraction]]:
        """Decode from a keyframe at or before `start`."""
        target = None if start is None else start + self.info.origin
        with self._open() as container:
            yield from self._timed(_decoded(container, self._source.name, target, errors, report, self._open))
        self._judge(errors, report)

    def _timed(self, decoded: Iterator[VideoFrame]) -> Iterator[tuple[VideoFrame, Fraction]]:
        """Give each frame a time after the one before it, from the file where it has one."""
        info = self.info
        last: Fraction | None = None
        for frame in _progressive(decoded, info):
            pts = None if frame.pts is None else frame.pts * Fraction(frame.time_base or info.time_base) - info.origin
            if pts is None or (last is not None and pts <= last):
                pts = info.start if last is None else last + 1 / info.fps
            last = pts
            self._end = pts + max(1 / info.fps, (frame.duration or 0) * Fraction(frame.time_base or info.time_base))
            yield frame, pts

    def _judge(self, errors: str, report: Report) -> None:
        """Say what was damaged or missing, once all is read."""
        info, seen = self.info, report.decoded + report.corrupt
        if report.corrupt and errors != "keep" and report.corrupt > TOLERATED_DAMAGE * seen:
            raise InputError(f"{info.name}: {report.corrupt} of {seen} frames damaged; giving up (--keep-going to try)")
        if report.corrupt:
            report.warn(f"{info.name}: {report.corrupt} of {seen} frames were damaged and skipped")
        if info.duration is None or self._end is None:
            return
        end, promised = self._end, info.start + info.duration
        if promised - end > 1 / info.fps + info.duration / 20:
            report.truncated = True
            report.warn(
                f"{info.name}: ends at {float(end):.1f} s though its header says {float(promised):.1f} s; "
                "edited what is there"
            )


def _decoded(
    container: InputContainer,
    name: str,
    target: Fraction | None,
    errors: str,
    report: Report,
    again: Callable[[], InputContainer],
) -> Iterator[VideoFrame]:
    """Decode the video stream, skipping and counting what is damaged."""
    import av

    stream = probe.pick_stream(name, container)
    stream.thread_type = "AUTO"
    decoder: Any = _decoder(stream)
    for packet in seek.packets(container, stream, target, again):
        try:
            frames = decoder.decode(packet if packet.size else None)
        except EOFError:
            return
        except av.FFmpegError:
            if errors == "raise":
                raise InputError(f"{name}: a frame is damaged") from None
            report.corrupt += 1
            continue
        for frame in frames:
            if frame.is_corrupt:
                report.corrupt += 1
                continue
            report.decoded += 1
            yield frame


def _decoder(stream: VideoStream) -> Any:
    """Choose the decoder: FFmpeg's own for VP8 and VP9 would drop transparency."""
    import av

    codec = stream.codec_context.codec.canonical_name
    if codec in ("vp8", "vp9") and stream.metadata.get("alpha_mode") == "1":
        return av.CodecContext.create("libvpx-vp9" if codec == "vp9" else "libvpx", "r")
    return stream.codec_context


def _progressive(decoded: Iterator[VideoFrame], info: VideoInfo) -> Iterator[VideoFrame]:
    """Weave interlaced frames into progressive ones, as many as before and at the same times."""
    graph, size = None, (0, 0)
    for frame in decoded:
        if graph is not None and (frame.width, frame.height) != size:
            yield from color.run(graph, None)
            graph = None
        if graph is None and not frame.interlaced_frame:
            yield frame
            continue
        if graph is None:
            size = (frame.width, frame.height)
            graph = color.build(frame, [("bwdif", "mode=send_frame:deint=interlaced")], info.time_base)
        yield from color.run(graph, frame)
    if graph is not None:
        yield from color.run(graph, None)
