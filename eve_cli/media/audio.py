"""Sound and subtitles of the source, copied packet by packet into the output as video time advances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from eve_cli.errors import InputError
from eve_cli.media import probe
from eve_cli.media.clip import VideoInfo
from eve_cli.media.seek import through_damage

if TYPE_CHECKING:
    from av import Packet
    from av.container import OutputContainer

# An edit list hides what comes before zero, so a decoder may warm up on it; Matroska has none.
PRE_ROLL = Fraction(80, 1000)
NOT_IN_MOV = ("flac", "opus", "truehd")
TEXT = ("mov_text", "subrip", "ass", "ssa", "webvtt", "text")
SUBTITLES: dict[str, tuple[str, ...]] = {".mp4": ("mov_text",), ".mov": ("mov_text",), ".webm": ("webvtt",)}
SUBTITLES[".mkv"] = ("subrip", "ass", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle")


@dataclass(frozen=True)
class Span:
    """The part of the source that is kept: seconds in the source's own file time; `whole` ends are not cut."""

    zero: Fraction
    from_start: bool
    to_end: bool

    def keeps(self, start: Fraction, end: Fraction, pre_roll: Fraction | None) -> bool:
        """Whether a packet from `start` to `end` (seconds) belongs to the output (whose end is checked elsewhere)."""
        if self.from_start:
            return True
        return start >= self.zero if pre_roll is None else end > self.zero - pre_roll

    def clipped(self, start: Fraction, length: Fraction) -> tuple[Fraction, Fraction]:
        """Move a start and length in file time to output time, without what lies before the span."""
        start -= self.zero
        return (start, length) if self.from_start or start >= 0 else (Fraction(0), start + length)


class Track(Protocol):
    """One stream on its way into the output."""

    def packets(self, packet: Packet) -> Iterator[Any]:
        """Turn a source packet (or the empty one at the end) into output packets."""
        ...


class CopiedPackets:
    """A stream whose packets go over unchanged but for their times."""

    def __init__(self, source: Any, stream: Any, span: Span, pre_roll: Fraction | None) -> None:
        self._stream, self._span, self._pre_roll = stream, span, pre_roll
        self._shift = round(span.zero / Fraction(source.time_base))
        self._last: int | None = None

    def packets(self, packet: Any) -> Iterator[Any]:
        """Shift one packet, or drop it outside the span."""
        if packet.pts is None and packet.dts is None:
            return
        tick = Fraction(packet.time_base)
        start = (packet.pts if packet.pts is not None else packet.dts) * tick
        if not self._span.keeps(start, start + (packet.duration or 0) * tick, self._pre_roll):
            return
        if self._last is not None and packet.dts is not None and packet.dts <= self._last:
            return  # damaged: times that go back would end the whole file
        self._last = packet.dts
        packet.pts = None if packet.pts is None else packet.pts - self._shift
        packet.dts = None if packet.dts is None else packet.dts - self._shift
        packet.stream = self._stream
        yield packet


class EncodedAudio:
    """A sound stream in a form the container cannot hold, encoded again."""

    def __init__(self, source: Any, output: OutputContainer, encoder: str, span: Span) -> None:
        from av import AudioResampler

        rate = 48000 if encoder == "libopus" else source.codec_context.sample_rate
        stream: Any = output.add_stream(encoder, rate=rate)
        stream.codec_context.layout = source.codec_context.layout.name
        stream.codec_context.bit_rate = 192_000
        stream.codec_context.open()
        self._source, self._stream, self._span, self._rate = source, stream, span, rate
        context = stream.codec_context
        self._resampler = AudioResampler(context.format, context.layout, rate, context.frame_size or None)
        self.stream = stream

    def packets(self, packet: Any) -> Iterator[Any]:
        """Decode, resample and encode; frames wholly before the span are dropped."""
        yield from self._encoded(self._source.decode(packet) if packet.size else [])

    def rest(self) -> Iterator[Any]:
        """Flush the decoder, the resampler and the encoder."""
        yield from self._encoded(self._source.decode(None))
        for ready in self._resampler.resample(None):
            yield from self._stream.encode(ready)
        yield from self._stream.encode(None)

    def _encoded(self, frames: Iterable[Any]) -> Iterator[Any]:
        for frame in frames:
            start = Fraction(frame.pts or 0) * Fraction(frame.time_base)
            if self._span.from_start or start >= self._span.zero:
                frame.pts = round((start - self._span.zero) * frame.sample_rate)
                frame.time_base = Fraction(1, frame.sample_rate)
                for ready in self._resampler.resample(frame):
                    yield from self._stream.encode(ready)


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


class SourceTracks:
    """Sound and subtitles of the source, copied as the picture is written."""

    def __init__(self, output: OutputContainer, like: VideoInfo, kind: str, sound: bool, zero: Fraction) -> None:
        self.notes: list[str] = []
        self._output, self._like, self._kind = output, like, kind
        self._span = Span(like.origin + zero, not like.cut_start, like.cut_end is None)
        self._container = probe.open_file(like.name, Path(like.path))
        self._tracks: dict[int, Track] = {}
        for source in self._container.streams.audio if sound else ():
            self._add(source, self._audio(source))
        for source in self._container.streams.subtitles:
            self._add(source, self._subtitle(source))
        streams = [self._container.streams[index] for index in self._tracks]
        self._packets = through_damage(self._container, *streams) if streams else iter(())
        self._audio_tracks = {index for index in self._tracks if self._container.streams[index].type == "audio"}
        self._waiting: Any = None

    def _add(self, source: Any, track: tuple[Track, Any] | None) -> None:
        if track is None:
            return
        self._tracks[source.index], stream = track
        stream.metadata.update({key: value for key, value in source.metadata.items() if key in ("language", "title")})
        if self._kind in (".mp4", ".mov") and "title" in source.metadata:
            stream.metadata["handler_name"] = source.metadata["title"]
        stream.disposition = source.disposition

    def _audio(self, source: Any) -> tuple[Track, Any] | None:
        if source.codec_context is None:
            self.notes.append(f"a sound track of {self._like.name} is in an unknown form and is left out")
            return None
        codec = source.codec_context.codec.canonical_name
        if codec in self._output.supported_codecs and not (self._kind == ".mov" and codec in NOT_IN_MOV):
            stream = self._output.add_stream_from_template(source)
            pre_roll = PRE_ROLL if self._kind in (".mp4", ".mov") else None
            return CopiedPackets(source, stream, self._span, pre_roll), stream
        encoder = "libopus" if self._kind == ".webm" else "aac"
        if self._kind == ".gif":
            return None
        self.notes.append(f"{codec} sound does not go into {self._kind}; it is re-encoded as {encoder[-4:].strip('b')}")
        track = EncodedAudio(source, self._output, encoder, self._span)
        return track, track.stream

    def _subtitle(self, source: Any) -> tuple[Track, Any] | None:
        codec = source.codec_context.codec.canonical_name if source.codec_context else "unknown"
        codecs = SUBTITLES.get(self._kind, ())
        if codec in codecs:
            stream = self._output.add_stream_from_template(source)
            return CopiedSubtitles(source, stream, self._span), stream
        if codec in TEXT and codecs:
            track = EncodedSubtitles(source, self._output, "srt" if codecs[0] == "subrip" else codecs[0], self._span)
            return track, track.stream
        self.notes.append(f"{codec} subtitles do not go into {self._kind} and are left out")
        return None

    def until(self, time: Fraction) -> None:
        """Mux packets that start before an output time."""
        self._mux(time, cut=False)

    def finish(self, end: Fraction) -> None:
        """Mux the rest, up to `end` where the source was cut."""
        self._mux(end if not self._span.to_end else None, cut=True)
        for track in self._tracks.values():
            if isinstance(track, EncodedAudio):
                self._output.mux(list(track.rest()))
        self.close()

    def _mux(self, limit: Fraction | None, cut: bool) -> None:
        """Mux up to a limit; at the end of a cut, read on until each sound track has reached it."""
        import av

        going = set(self._audio_tracks)
        while True:
            packet, self._waiting = self._waiting or next(self._packets, None), None
            if packet is None:
                return
            if limit is not None and self._time(packet) >= limit:
                going.discard(packet.stream.index)
                if cut and (going or not self._audio_tracks):
                    continue
                self._waiting = packet
                return
            try:
                self._output.mux(list(self._tracks[packet.stream.index].packets(packet)))
            except av.InvalidDataError:
                self._note_damage()

    def _time(self, packet: Any) -> Fraction:
        """A packet's time in the output; that of the empty one at the end is -1."""
        ticks = packet.dts if packet.pts is None else packet.pts
        return Fraction(-1) if ticks is None else ticks * Fraction(packet.time_base) - self._span.zero

    def _note_damage(self) -> None:
        note = f"{self._like.name}: damaged sound was skipped"
        if note not in self.notes:
            self.notes.append(note)

    def close(self) -> None:
        """Close the source."""
        self._container.close()


def source_tracks(
    output: OutputContainer, like: VideoInfo | None, kind: str, sound: bool, zero: Fraction
) -> SourceTracks | None:
    """Open the source's sound and subtitles; None where there are none or the source is missing."""
    if like is None or not (like.audio or like.subtitles) or kind == ".gif":
        return None
    try:
        return SourceTracks(output, like, kind, sound, zero)
    except InputError:
        return None
