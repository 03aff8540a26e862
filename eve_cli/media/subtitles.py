"""Subtitles of the source on their way into the output: copied, or text that is written in another form."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from eve_cli.media.span import Span

if TYPE_CHECKING:
    from av.container import OutputContainer

TEXT = ("mov_text", "subrip", "ass", "ssa", "webvtt", "text")
SUBTITLES: dict[str, tuple[str, ...]] = {".mp4": ("mov_text",), ".mov": ("mov_text",), ".webm": ("webvtt",)}
SUBTITLES[".mkv"] = ("subrip", "ass", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle")


class CopiedSubtitles:
    """Subtitles whose packets go over unchanged; one already shown at the cut begins there."""

    def __init__(self, source: Any, stream: Any, span: Span) -> None:
        self._stream, self._span, self._tick = stream, span, Fraction(source.time_base)

    def packets(self, packet: Any) -> Iterator[Any]:
        """Shift one packet, clip it to the span, or drop it."""
        if not packet.size or packet.pts is None:
            return
        start, length = self._span.clipped(packet.pts * self._tick, (packet.duration or 0) * self._tick)
        if length > 0 or self._span.from_start:
            packet.pts = packet.dts = round(start / self._tick)
            packet.duration = round(length / self._tick)
            packet.stream = self._stream
            yield packet


class EncodedSubtitles:
    """Text subtitles, written in the output's own form."""

    def __init__(self, source: Any, output: OutputContainer, codec: str, span: Span) -> None:
        self._source, self._span = source, span
        self.stream: Any = output.add_stream(codec)
        if not source.codec_context.is_open:
            source.codec_context.open()
        self.stream.codec_context.subtitle_header = source.codec_context.subtitle_header
        self.stream.codec_context.time_base = Fraction(1, 1000)
        self.stream.time_base = Fraction(1, 1000)

    def packets(self, packet: Any) -> Iterator[Any]:
        """Decode one title and encode it at its new time."""
        from av.subtitles.subtitle import AssSubtitle, SubtitleSet

        tick = Fraction(packet.time_base or 1)
        start, length = self._span.clipped((packet.pts or 0) * tick, (packet.duration or 0) * tick)
        if not packet.size or length <= 0:
            return
        subtitles = self._source.codec_context.decode2(packet)
        texts = [each.ass for each in subtitles or () if isinstance(each, AssSubtitle)]
        if not any(texts):
            return
        title = SubtitleSet.create(b"\n".join(texts), 0, round(length * 1000))
        encoded = self.stream.codec_context.encode_subtitle(title)
        encoded.pts = encoded.dts = round(start * 1000)
        encoded.duration, encoded.time_base, encoded.stream = round(length * 1000), Fraction(1, 1000), self.stream
        yield encoded
