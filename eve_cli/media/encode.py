"""Frames into a file: exact colour and times, the source's sound and tags, and all of it or nothing."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from eve_cli.errors import OutputError
from eve_cli.media import codecs, color, tags
from eve_cli.media.atomic import AtomicFile
from eve_cli.media.audio import companions
from eve_cli.media.clip import Picture, VideoInfo
from eve_cli.media.threads import Behind

if TYPE_CHECKING:
    from av import VideoFrame

LARGEST_TICK = 1_000_000


class Queued(NamedTuple):
    """A picture on its way to the encoder; times are seconds of the output."""

    frame: VideoFrame
    pts: Fraction
    duration: Fraction


class VideoWriter:
    """Write a clip; with `like`, the timing, colour, sound and tags of that source are kept.

    `size` is (width, height); `fps` is only a label and the default frame length where there is no `like`.
    The file appears complete at `close`, or not at all when an error leaves the `with` block.
    """

    def __init__(
        self,
        dst: str | os.PathLike[str],
        like: VideoInfo | None = None,
        size: tuple[int, int] | None = None,
        codec: str = "h264",
        crf: float | None = None,
        preset: str = "medium",
        audio: Literal["copy", "none"] = "copy",
        overwrite: bool = True,
        metadata: Mapping[str, str] | None = None,
        fps: float | Fraction | None = None,
    ) -> None:
        self._name = os.fspath(dst)
        self._codec = codecs.choose(self._name, codec)
        self._like, self._size, self._preset = like, size, preset
        self._crf = self._codec.crf if crf is None else crf
        self._sound, self._metadata = audio == "copy", dict(metadata or {})
        self._fps = Fraction(fps).limit_denominator(100_000) if fps else like.fps if like else Fraction(25)
        self._file = AtomicFile(self._name, overwrite)
        self._behind: Behind[Queued] | None = None
        self._zero: Fraction | None = None
        self._next = Fraction(0)
        self.notes: list[str] = []
        self._encoder: _Encoder | None = None
        self._done = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, rgb: Picture, pts: Fraction | None = None, duration: Fraction | None = None) -> None:
        """Queue one picture, uint8 (3, height, width); without `pts` it follows the one before."""
        pts = self._next if pts is None else Fraction(pts)
        duration = 1 / self._fps if duration is None else Fraction(duration)
        if self._zero is None:
            self._zero = pts if self._like is None or self._like.cut_start else Fraction(0)
            self._zero = min(self._zero, pts)
        self._next = pts + duration
        height, width = rgb.shape[1:]
        even = 2 if self._codec.even and self._size is None else 1
        frame = color.from_planes(rgb, math.ceil(width / even) * even, math.ceil(height / even) * even)
        if self._behind is None:
            self._encoder = _Encoder(self, frame, (width, height), self._zero)
            self._behind = Behind(self._encoder.encode)
        self._behind.put(Queued(frame, pts - self._zero, duration))

    def close(self) -> None:
        """Finish the file and put it in place."""
        if self._done:
            return
        try:
            if self._behind is None or self._encoder is None:
                raise OutputError(f"{self._name}: no frame was written")
            self._behind.close()
            self._encoder.finish()
            self._file.commit()
            self._done = True
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Leave the target as it was."""
        if self._done:
            return
        self._done = True
        if self._behind is not None:
            self._behind.close(drop=True)
        if self._encoder is not None:
            self._encoder.discard()
        self._file.discard()


class _Encoder:
    """The open output: one video stream, and what comes along from the source."""

    def __init__(self, writer: VideoWriter, first: VideoFrame, size: tuple[int, int], zero: Fraction) -> None:
        import av

        self._like, self._codec = writer._like, writer._codec
        kind = Path(writer._name).suffix.lower()
        width, height, sar = self._stored(writer._size, size, (first.width, first.height))
        self._color = color.written(self._like.color if self._like else None, width, height)
        self._tick = _time_base(self._like, writer._fps, kind)
        labels = tags.merged(self._like, writer._metadata)
        options = _muxer_options(kind, self._tick, labels)
        self._container = av.open(str(writer._file.path), "w", container_options=options)
        self._container.metadata.update(labels)
        stream: Any = self._container.add_stream(self._codec.encoder, rate=writer._fps)
        stream.width, stream.height, stream.pix_fmt = width, height, self._codec.pixel_format
        stream.codec_context.time_base = self._tick
        stream.codec_context.options = self._codec.options(writer._crf, writer._preset)
        self._stream = stream
        if sar != 1:
            stream.codec_context.sample_aspect_ratio = sar
        if kind in self._codec.tags:
            stream.codec_context.codec_tag = self._codec.tags[kind]
        self._tag(stream.codec_context)
        chain = color.from_rgb_chain(self._color, (width, height), self._codec.pixel_format)
        self._graph = color.build(first, chain, self._tick)
        self._last: int | None = None
        if self._like is not None:
            tags.copy_chapters(self._container, self._like, zero)
        self._companions = companions(self._container, self._like, kind, writer._sound, zero)
        writer.notes.extend(self._companions.notes if self._companions else ())

    def _stored(
        self, asked: tuple[int, int] | None, size: tuple[int, int], padded: tuple[int, int]
    ) -> tuple[int, int, Fraction]:
        """Decide the stored size and pixel aspect: the source's own for a picture of the source's size."""
        if asked is not None:
            return *asked, Fraction(1)
        like = self._like
        if like is None or like.sar == 1 or size != (like.width, like.height):
            return *padded, Fraction(1)
        even = 2 if self._codec.even else 1
        width, height = (math.ceil(each / even) * even for each in like.stored_size)
        return width, height, like.sar

    def _tag(self, target: Any) -> None:
        if self._codec.pixel_format in ("gbrp", "pal8"):
            return
        target.colorspace = color.MATRICES[self._color.matrix]
        target.color_primaries = color.PRIMARIES[self._color.primaries]
        target.color_trc = color.TRANSFERS[self._color.transfer]
        target.color_range = 1

    def encode(self, queued: Queued) -> None:
        """Convert, encode and mux one picture, and the sound up to it."""
        ticks = round(queued.pts / self._tick)
        self._last = ticks if self._last is None else max(ticks, self._last + 1)
        queued.frame.pts, queued.frame.time_base = self._last, self._tick
        queued.frame.duration = max(1, round(queued.duration / self._tick))
        for frame in color.run(self._graph, queued.frame):
            self._tag(frame)
            self._container.mux(self._stream.encode(frame))
        if self._companions is not None:
            self._companions.until(queued.pts)
        self._end = queued.pts + queued.duration

    def finish(self) -> None:
        """Flush the encoder, add the rest of the sound and write the index."""
        self._container.mux(self._stream.encode(None))
        if self._companions is not None:
            self._companions.finish(self._end)
        self._container.close()

    def discard(self) -> None:
        """Close without caring what is left."""
        if self._companions is not None:
            self._companions.close()
        try:
            self._container.close()
        except Exception:
            return


def _time_base(like: VideoInfo | None, fps: Fraction, kind: str) -> Fraction:
    """Choose a tick in which every time of the source is a whole number, where there is one."""
    if kind == ".gif":
        return Fraction(1, 100)
    if like is None:
        return Fraction(1, fps.numerator)
    if like.is_vfr:
        return like.time_base
    denominator = math.lcm(fps.numerator, (like.start * fps.numerator).denominator * fps.numerator)
    return Fraction(1, denominator if denominator <= LARGEST_TICK else fps.numerator)


def _muxer_options(kind: str, tick: Fraction, labels: Mapping[str, str]) -> dict[str, str]:
    if kind not in (".mp4", ".mov"):
        return {}
    flags = "+faststart+use_metadata_tags" if tags.needs_table(labels) else "+faststart"
    return {"movflags": flags, "movie_timescale": "48000", "video_track_timescale": str(tick.denominator)}
