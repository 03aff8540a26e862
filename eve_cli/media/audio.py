"""Sound and subtitles of the source, copied packet by packet into the output as video time advances."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from eve_cli.errors import InputError
from eve_cli.media import probe
from eve_cli.media.audio_encoder import EncodedAudio
from eve_cli.media.clip import VideoInfo
from eve_cli.media.discontinuities import shifted
from eve_cli.media.seek import through_damage
from eve_cli.media.span import Span
from eve_cli.media.subtitles import SUBTITLES, TEXT, CopiedSubtitles, EncodedSubtitles

if TYPE_CHECKING:
    from av import Packet
    from av.container import OutputContainer

# An edit list hides what comes before zero, so a decoder may warm up on it; Matroska has none.
PRE_ROLL = Fraction(80, 1000)
FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
TRIAL_PACKETS = 8


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
        end = start + (packet.duration or 0) * tick
        if not self._span.keeps(start, end, self._pre_roll):
            return
        if self._pre_roll is None and packet.is_discard and end < self._span.zero:
            return  # hidden by the source's edit list, and this file has none
        if self._last is not None and packet.dts is not None and packet.dts < self._last + self._step:
            return  # damaged: times that go back would end the whole file
        self._last = packet.dts
        packet.pts = None if packet.pts is None else packet.pts - self._shift
        packet.dts = None if packet.dts is None else packet.dts - self._shift
        packet.stream = self._stream
        yield packet


Build = Callable[[Any, "OutputContainer"], tuple[Track, Any]]
"""Makes a track of a source stream in an output: the track and its output stream."""


class SourceTracks:
    """Sound and subtitles of the source, copied as the picture is written.

    Each track is first tried on a file in memory, so that none can end the writing of the picture.
    """

    def __init__(self, output: OutputContainer, like: VideoInfo, kind: str, sound: bool, zero: Fraction) -> None:
        self.notes: list[str] = []
        self._output, self._like, self._kind = output, like, kind
        self._span = Span(like.origin + zero, not like.cut_start)
        self._cut = None if like.cut_end is None else like.cut_end - zero
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
        names, known = {codec, source.codec_context.name}, self._output.supported_codecs
        changes = codec == "aac" and self._configurations(source) > 1
        copied = self._trial(source, self._copied_audio) if names & known and not changes else None
        encoded = self._trial(source, self._encoded_audio) if copied is None else None
        if copied:
            self._add(source, self._copied_audio)
        elif encoded:
            self._add(source, self._encoded_audio)
            self._note_encoded(codec, self._tracks[source.index], changes)
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

    def _note_encoded(self, codec: str, track: Any, changes: bool) -> None:
        before, after = track.layouts
        encoder = track.stream.codec_context.codec.canonical_name
        layout = "" if before == after else f" in the layout {after} instead of {before}"
        what = "that changes its layout or rate " if changes else ""
        self._note(f"{codec} sound {what}does not go into {self._kind}; it is re-encoded as {encoder}{layout}")

    def _configurations(self, source: Any) -> int:
        """How many layouts and rates an AAC track has; more than one in broadcasts, whose packets each name theirs."""
        if source.codec_context.extradata:
            return 1
        with probe.open_file(self._like.name, Path(self._like.path)) as container:
            heads = (
                bytes(memoryview(packet)[:4]) for packet in through_damage(container, container.streams[source.index])
            )
            return len({(head[2] & 0xFD, head[3] & 0xC0) for head in heads if head[:1] == b"\xff" and len(head) == 4})

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
                count = _mux_first(output, track, itertools.takewhile(self._is_kept, packets))
                output.close()
            except (av.FFmpegError, ValueError, NotImplementedError):
                with suppress(av.FFmpegError, ValueError):
                    output.close()
                return None
        return count

    def _is_kept(self, packet: Any) -> bool:
        """Whether a packet begins before the end of what is kept."""
        return self._cut is None or self._time(packet) < self._cut

    def until(self, time: Fraction) -> None:
        """Mux packets that start before an output time."""
        self._mux(time, cut=False)

    def finish(self, end: Fraction) -> None:
        """Mux the rest, where the source was cut up to there, or to the end of the picture if that is later."""
        self._mux(None if self._cut is None else max(end, self._cut), cut=True)
        for track in self._tracks.values():
            if isinstance(track, EncodedAudio):
                self._mux_some(track.rest())
        self.close()

    def _mux(self, limit: Fraction | None, cut: bool) -> None:
        """Mux up to a limit; at the end of a cut, read on until each sound track has reached it."""
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
            self._mux_some(self._tracks[packet.stream.index].packets(packet))

    def _mux_some(self, packets: Iterator[Any]) -> None:
        """Mux packets of a track; what cannot be decoded, encoded or written is skipped with a note."""
        import av

        try:
            ready = list(packets)
        except (av.FFmpegError, ValueError):
            self._note(f"{self._like.name}: damaged sound was skipped")
            return
        try:
            self._output.mux(ready)
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, OSError):  # of the disk
                raise
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
        except (av.FFmpegError, ValueError):
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
