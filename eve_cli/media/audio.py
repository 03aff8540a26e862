"""Sound and subtitles of the source, copied packet by packet into the output as video time advances."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from eve_cli.errors import InputError
from eve_cli.media import probe
from eve_cli.media.clip import VideoInfo
from eve_cli.media.discontinuities import shifted
from eve_cli.media.seek import through_damage

if TYPE_CHECKING:
    from av import Packet
    from av.container import OutputContainer

# An edit list hides what comes before zero, so a decoder may warm up on it; Matroska has none.
PRE_ROLL = Fraction(80, 1000)
FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
DOWN_MIXES = ("5.1", "stereo", "mono")
"""Layouts that are tried where an encoder has neither the source's nor the usual one of as many channels."""
TRIAL_PACKETS = 8
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
    """A stream whose packets go over unchanged but for their times, which grow by at least `step` ticks."""

    def __init__(self, source: Any, stream: Any, span: Span, pre_roll: Fraction | None, step: int) -> None:
        self._stream, self._span, self._pre_roll, self._step = stream, span, pre_roll, step
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
        if self._last is not None and packet.dts is not None and packet.dts < self._last + self._step:
            return  # damaged: times that go back would end the whole file
        self._last = packet.dts
        packet.pts = None if packet.pts is None else packet.pts - self._shift
        packet.dts = None if packet.dts is None else packet.dts - self._shift
        packet.stream = self._stream
        yield packet


class EncodedAudio:
    """A sound stream in a form the container cannot hold, encoded again in the nearest layout and rate there is."""

    def __init__(self, source: Any, output: OutputContainer, encoder: str, span: Span) -> None:
        from av import AudioResampler

        context: Any = source.codec_context
        layout, rate = _accepted(encoder, context)
        name = context.layout.name
        if _is_unspecified(context.layout):
            context.layout = name = _usual_layout(context.layout.nb_channels)
        self.layouts = (name, layout)
        stream: Any = output.add_stream(encoder, rate=rate)
        stream.codec_context.layout = layout
        stream.codec_context.bit_rate = 192_000
        stream.codec_context.open()
        self._source, self._stream, self._span, self._next = source, stream, span, Fraction(0)
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
            if frame.pts is not None:
                self._next = frame.pts * Fraction(frame.time_base or self._source.time_base)
            start = self._next  # of a frame without a time, which a decoder's last may be: the end of the one before
            self._next += Fraction(frame.samples, frame.sample_rate)
            if self._span.from_start or start >= self._span.zero:
                frame.pts = round((start - self._span.zero) * frame.sample_rate)
                frame.time_base = Fraction(1, frame.sample_rate)
                for ready in self._resampler.resample(frame):
                    yield from self._stream.encode(ready)


def _is_unspecified(layout: Any) -> bool:
    """Whether a layout says nothing but how many channels there are."""
    return layout.name == f"{layout.nb_channels} channels"


def _usual_layout(channels: int) -> str:
    """The default layout of a number of channels; stereo where there is none."""
    import av

    layout = av.AudioLayout(f"{channels}c")
    return "stereo" if _is_unspecified(layout) else layout.name


def _accepted(encoder: str, source: Any) -> tuple[str, int]:
    """The layout and sample rate nearest to the source's that an encoder opens with; raises av.FFmpegError."""
    import av

    rates: Any = av.Codec(encoder, "w").audio_rates
    larger = [rate for rate in rates or () if rate >= source.sample_rate]
    rate = min(larger) if larger else max(rates) if rates else source.sample_rate
    own = () if _is_unspecified(source.layout) else (source.layout.name,)
    error: Exception = ValueError(f"{encoder} takes none of these layouts")
    for layout in (*own, _usual_layout(source.layout.nb_channels), *DOWN_MIXES):
        context: Any = av.CodecContext.create(encoder, "w")
        context.layout, context.sample_rate, context.bit_rate = layout, rate, 192_000
        context.format = context.codec.audio_formats[0]
        try:
            context.open()
            return layout, rate
        except (av.FFmpegError, ValueError) as refused:
            error = refused
    raise error


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


Build = Callable[[Any, "OutputContainer"], tuple[Track, Any]]
"""Makes a track of a source stream in an output: the track and its output stream."""


class SourceTracks:
    """Sound and subtitles of the source, copied as the picture is written.

    Each track is first tried on a file in memory, so that none can end the writing of the picture.
    """

    def __init__(self, output: OutputContainer, like: VideoInfo, kind: str, sound: bool, zero: Fraction) -> None:
        self.notes: list[str] = []
        self._output, self._like, self._kind = output, like, kind
        self._span = Span(like.origin + zero, not like.cut_start, like.cut_end is None)
        self._container = probe.open_file(like.name, Path(like.path))
        self._tracks: dict[int, Track] = {}
        for source in self._container.streams.audio if sound else ():
            self._add_audio(source)
        for source in self._container.streams.subtitles:
            self._add_subtitle(source)
        streams = [self._container.streams[index] for index in self._tracks]
        self._packets = shifted(through_damage(self._container, *streams), like.timeline) if streams else iter(())
        self._audio_tracks = {index for index in self._tracks if self._container.streams[index].type == "audio"}
        self._waiting: Any = None

    def _add(self, source: Any, build: Build) -> None:
        track, stream = build(source, self._output)
        self._tracks[source.index] = track
        stream.metadata.update({key: value for key, value in source.metadata.items() if key in ("language", "title")})
        if self._kind in (".mp4", ".mov") and "title" in source.metadata:
            stream.metadata["handler_name"] = source.metadata["title"]
        stream.disposition = source.disposition

    def _add_audio(self, source: Any) -> None:
        name = self._like.name
        if source.codec_context is None:
            self._note(f"a sound track of {name} is in an unknown form and is left out")
            return
        codec = source.codec_context.codec.canonical_name
        copied = self._trial(source, self._copied_audio) if codec in self._output.supported_codecs else None
        encoded = self._trial(source, self._encoded_audio) if copied is None else None
        if copied:
            self._add(source, self._copied_audio)
        elif encoded:
            self._add(source, self._encoded_audio)
            self._note_encoded(codec, self._tracks[source.index])
        elif 0 in (copied, encoded):
            self._note(f"a sound track of {name} holds no sound here and is left out")
        else:
            self._note(f"a sound track of {name} ({codec}) cannot be written to {self._kind} and is left out")

    def _copied_audio(self, source: Any, output: OutputContainer) -> tuple[Track, Any]:
        stream = output.add_stream_from_template(source)
        pre_roll = PRE_ROLL if self._kind in (".mp4", ".mov") else None
        step = 0 if self._kind in (".mkv", ".webm") else 1  # packets of less than Matroska's tick have equal times
        return CopiedPackets(source, stream, self._span, pre_roll, step), stream

    def _encoded_audio(self, source: Any, output: OutputContainer) -> tuple[Track, Any]:
        track = EncodedAudio(source, output, "libopus" if self._kind == ".webm" else "aac", self._span)
        return track, track.stream

    def _note_encoded(self, codec: str, track: Any) -> None:
        before, after = track.layouts
        encoder = track.stream.codec_context.codec.canonical_name
        layout = "" if before == after else f" in the layout {after} instead of {before}"
        self._note(f"{codec} sound does not go into {self._kind}; it is re-encoded as {encoder}{layout}")

    def _add_subtitle(self, source: Any) -> None:
        codec = source.codec_context.codec.canonical_name if source.codec_context else "unknown"
        kinds = SUBTITLES.get(self._kind, ())
        build = self._copied_subtitles if codec in kinds else self._encoded_subtitles
        if (codec in kinds or (codec in TEXT and kinds)) and self._trial(source, build) is not None:
            self._add(source, build)
        else:
            self._note(f"{codec} subtitles do not go into {self._kind} and are left out")

    def _copied_subtitles(self, source: Any, output: OutputContainer) -> tuple[Track, Any]:
        stream = output.add_stream_from_template(source)
        return CopiedSubtitles(source, stream, self._span), stream

    def _encoded_subtitles(self, source: Any, output: OutputContainer) -> tuple[Track, Any]:
        kind = SUBTITLES[self._kind][0]
        track = EncodedSubtitles(source, output, "srt" if kind == "subrip" else kind, self._span)
        return track, track.stream

    def _trial(self, source: Any, build: Build) -> int | None:
        """How many of a track's first packets a file in memory takes; None where it refuses the track."""
        import av

        with probe.open_file(self._like.name, Path(self._like.path)) as container:
            output = av.open(io.BytesIO(), "w", format=FORMATS[self._kind])
            try:
                track, _ = build(container.streams[source.index], output)
                packets = shifted(through_damage(container, container.streams[source.index]), self._like.timeline)
                count = _mux_first(output, track, packets)
                output.close()
            except (av.FFmpegError, ValueError, NotImplementedError):
                with suppress(av.FFmpegError, ValueError):
                    output.close()
                return None
        return count

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
                self._note(f"{self._like.name}: damaged sound was skipped")
            except av.ArgumentError:
                self._note(f"{self._like.name}: sound that {self._kind} does not take was skipped")

    def _time(self, packet: Any) -> Fraction:
        """A packet's time in the output; that of the empty one at the end is -1."""
        ticks = packet.dts if packet.pts is None else packet.pts
        return Fraction(-1) if ticks is None else ticks * Fraction(packet.time_base) - self._span.zero

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def close(self) -> None:
        """Close the source."""
        self._container.close()


def _mux_first(output: OutputContainer, track: Track, packets: Iterator[Any]) -> int:
    """Muxes the first packets of a track, and gives their number; damaged ones are skipped."""
    import av

    count = 0
    for packet in packets:
        try:
            muxed = list(track.packets(packet))
        except av.InvalidDataError:
            continue
        output.mux(muxed)
        count += len(muxed)
        if count >= TRIAL_PACKETS:
            break
    if isinstance(track, EncodedAudio):
        rest = list(track.rest())
        output.mux(rest)
        count += len(rest)
    return count


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
