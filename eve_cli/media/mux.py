"""The open output file: one encoded video stream, and the sound and subtitles of the source."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from eve_cli.media import color, tags
from eve_cli.media.audio import source_tracks
from eve_cli.media.clip import VideoInfo
from eve_cli.media.codecs import Codec
from eve_cli.media.extras import MATROSKA, extras

if TYPE_CHECKING:
    from av import VideoFrame

LARGEST_TICK = 1_000_000


@dataclass(frozen=True)
class OutputSettings:
    """How an output file is written; `like` is the source whose timing, colour, sound and tags it keeps."""

    path: Path
    like: VideoInfo | None
    size: tuple[int, int] | None
    codec: Codec
    crf: float
    preset: str
    sound: bool
    labels: Mapping[str, str]
    fps: Fraction
    alone: bool = False
    """Whether the picture goes without what travels beside it: sound, subtitles, attachments and covers."""

    @property
    def kind(self) -> str:
        """The file type, as ".mp4"."""
        return self.path.suffix.lower()

    def padded(self, width: int, height: int) -> tuple[int, int]:
        """Round a size up to what the encoder can take."""
        step = 2 if self.codec.even else 1
        return math.ceil(width / step) * step, math.ceil(height / step) * step


class QueuedFrame(NamedTuple):
    """A picture on its way to the encoder; times are seconds of the output."""

    frame: VideoFrame
    pts: Fraction
    duration: Fraction


class Output:
    """Encode and mux pictures of one size; `zero` is the source's time that becomes the output's start."""

    def __init__(self, settings: OutputSettings, first: VideoFrame, size: tuple[int, int], zero: Fraction) -> None:
        import av

        like, self._kind = settings.like, settings.kind
        self._tick = _time_base(like, settings.fps, settings.kind)
        labels = tags.merged(like, settings.labels)
        options = _muxer_options(settings.kind, self._tick, labels, like)
        self._container = av.open(str(settings.path), "w", container_options=options)
        self._container.metadata.update(labels)
        self._stream, self._color = self._add_video(settings, first, size)
        self._graph = self._converter(settings.codec, first)
        self._last = -1
        self._durations: dict[int, int] = {}
        self._start: Fraction | None = None
        self._first_dts: Fraction | None = None
        self._end = Fraction(0)
        if like is not None:
            tags.copy_chapters(self._container, like, zero)
        beside = None if settings.alone else like
        self._source_tracks = source_tracks(self._container, beside, settings.kind, settings.sound, zero)
        self._extras = extras(self._container, self._stream, beside, settings.kind)
        self.notes: list[str] = self._source_tracks.notes if self._source_tracks else []
        self.notes += self._extras.notes if self._extras else []
        self._start_file()

    def _start_file(self) -> None:
        """Open the encoder and write the header with every stream."""
        try:
            self._container.start_encoding()
        except BaseException:
            self.discard()
            raise

    def _add_video(self, settings: OutputSettings, first: VideoFrame, size: tuple[int, int]) -> tuple[Any, color.Color]:
        codec = settings.codec
        width, height, sar = _stored(settings, size, first)
        stream_color = color.output_color(settings.like.color if settings.like else None, width, height)
        stream: Any = self._container.add_stream(codec.encoder, rate=settings.fps)
        stream.width, stream.height, stream.pix_fmt = width, height, codec.pixel_format
        context = stream.codec_context
        context.time_base = self._tick
        context.options = codec.options(settings.crf, settings.preset)
        context.flags |= FRAME_DURATION
        if sar != 1:
            context.sample_aspect_ratio = sar
        if settings.kind in codec.tags:
            context.codec_tag = codec.tags[settings.kind]
        if not _is_rgb(codec):
            _tag(context, stream_color)
        return stream, stream_color

    def _converter(self, codec: Codec, first: VideoFrame) -> Any:
        size = (self._stream.width, self._stream.height)
        if codec.pixel_format == "pal8":
            return color.palette_graph(first, size, self._tick)
        return color.build(first, color.from_rgb_chain(self._color, size, codec.pixel_format), self._tick)

    def encode(self, queued: QueuedFrame) -> None:
        """Convert, encode and mux one picture, and the sound up to it."""
        self._last = max(round(queued.pts / self._tick), self._last + 1)
        queued.frame.pts, queued.frame.time_base = self._last, self._tick
        self._durations[self._last] = queued.frame.duration = max(1, round(queued.duration / self._tick))
        for frame in color.run(self._graph, queued.frame):
            if not _is_rgb(self._stream):
                _tag(frame, self._color)
            self._mux(self._encoded(frame))
        if self._source_tracks is not None:
            self._source_tracks.until(queued.pts)
        if self._start is None:
            self._start = queued.pts
            self._container.mux(list(self._extras.packets() if self._extras else ()))
        self._end = queued.pts + queued.duration

    def _encoded(self, frame: VideoFrame | None) -> list[Any]:
        """Packets with the durations of their pictures, which some encoders ignore."""
        packets: list[Any] = self._stream.encode(frame)
        for packet in packets:
            tick = Fraction(packet.time_base)
            shown = self._durations.pop(round(packet.pts * tick / self._tick), None)
            packet.duration = packet.duration if shown is None else round(shown * self._tick / tick)
        return packets

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            if self._first_dts is None:
                self._first_dts = packet.dts * Fraction(packet.time_base)
            self._container.mux(packet)

    def flush(self) -> None:
        """Mux what the encoder still holds."""
        few = self._first_dts is None and len(self._durations) <= 2
        packets = self._encoded(None)
        for packet in packets if few else ():
            packet.dts = packet.pts  # two pictures have no B-frames, and x265 gives them times from nowhere
        if packets and self._kind in (".mp4", ".mov"):
            self._hold(packets)
        self._mux(packets)

    def finish(self) -> None:
        """Flush the encoder, add the rest of the sound and write the index."""
        self.flush()
        if self._source_tracks is not None:
            self._source_tracks.finish(self._end)
        self._container.close()

    def _hold(self, packets: list[Any]) -> None:
        """Make the last packet last as long as the last picture, which B-frames put before it."""
        last, tick = packets[-1], Fraction(packets[-1].time_base)
        first = packets[0].dts * tick if self._first_dts is None else self._first_dts
        left = self._end - (self._start or 0) - (last.dts * tick - first)
        last.duration = max(last.duration or 0, round(left / tick))

    def discard(self) -> None:
        """Close the file in any state; errors are ignored."""
        if self._source_tracks is not None:
            self._source_tracks.close()
        try:
            self._container.close()
        except Exception:
            return


def open_output(settings: OutputSettings, first: VideoFrame, size: tuple[int, int], zero: Fraction) -> Output:
    """Open the output; where it refuses what travels beside the picture, the picture goes alone, with a note."""
    import av

    try:
        return Output(settings, first, size, zero)
    except (av.FFmpegError, ValueError) as error:
        if settings.like is None or isinstance(error, OSError):  # the disk's
            raise
        output = Output(replace(settings, alone=True), first, size, zero)
        output.notes.append(f"{settings.kind} does not take the sound of {settings.like.name}, which is left out")
        return output


# AV_CODEC_FLAG_FRAME_DURATION: each frame stores its duration, so uneven times survive.
FRAME_DURATION = 1 << 8


def _is_rgb(target: Any) -> bool:
    name = target.pixel_format if isinstance(target, Codec) else target.pix_fmt
    return name in color.RGB_FORMATS


def _tag(target: Any, stream_color: color.Color) -> None:
    target.colorspace = color.MATRICES[stream_color.matrix]
    target.color_primaries = color.PRIMARIES[stream_color.primaries]
    target.color_trc = color.TRANSFERS[stream_color.transfer]
    target.color_range = 1


def _stored(settings: OutputSettings, size: tuple[int, int], first: VideoFrame) -> tuple[int, int, Fraction]:
    """Decide the stored size and pixel aspect: the source's own for a picture of the source's size."""
    like = settings.like
    if settings.size is not None:
        return *settings.padded(*settings.size), Fraction(1)
    if like is None or like.sar == 1 or size != (like.width, like.height):
        return first.width, first.height, Fraction(1)
    return *settings.padded(*like.stored_size), like.sar


def _time_base(like: VideoInfo | None, fps: Fraction, kind: str) -> Fraction:
    """Choose a tick in which every time of the source is a whole number, where there is one."""
    if kind == ".gif":
        return Fraction(1, 100)
    if like is None:
        return Fraction(1, fps.numerator)
    if like.is_vfr:
        return like.time_base
    denominator = math.lcm(fps.numerator, like.start.denominator)
    return Fraction(1, denominator if denominator <= LARGEST_TICK else fps.numerator)


def _muxer_options(kind: str, tick: Fraction, labels: Mapping[str, str], like: VideoInfo | None) -> dict[str, str]:
    if kind == ".gif":
        return {"loop": str(0 if like is None or like.loop is None else like.loop)}
    if kind in MATROSKA:
        return {"fflags": "+bitexact"}  # else each file has random numbers, and the same edit other bytes
    if kind not in (".mp4", ".mov"):
        return {}
    flags = "+faststart+use_metadata_tags" if tags.needs_table(labels, kind) else "+faststart"
    return {"movflags": flags, "movie_timescale": "48000", "video_track_timescale": str(tick.denominator)}
