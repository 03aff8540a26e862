"""The facts of a clip from its header and first frame."""

from __future__ import annotations

import itertools
import mmap
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eve_cli.errors import InputError
from eve_cli.media import color, input_resolver
from eve_cli.media.clip import AudioTrack, Chapter, Orientation, SubtitleTrack, VideoInfo
from eve_cli.media.discontinuities import Timeline, shifted

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

SCANNED_PACKETS = 400
USUAL_RATES = (24, 25, 30, 50, 60)
STALE_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder")


def open_file(name: str, path: Path) -> InputContainer:
    """Open a local file and nothing but a file (no network, no other protocol)."""
    import av

    # From PyAV 19 on, tags that are no UTF-8 are always replaced and the argument is gone.
    lenient: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
    try:
        return av.open(f"file:{path}", options={"protocol_whitelist": "file"}, **lenient)
    except (av.FFmpegError, OSError, ValueError):
        raise input_resolver.why_unreadable(name, path) from None


def covers(container: InputContainer) -> list[VideoStream]:
    """The streams that are one picture: a cover."""
    from av.stream import Disposition

    return [stream for stream in container.streams.video if stream.disposition & Disposition.attached_pic]


def pick_stream(name: str, container: InputContainer) -> VideoStream:
    """Choose the video: never a cover picture; the only default one, else the largest."""
    from av.stream import Disposition

    pictures = covers(container)
    videos = [stream for stream in container.streams.video if stream not in pictures]
    if not videos:
        what = "has sound but no video" if container.streams.audio else "has no video"
        raise InputError(f"{name}: {what}")
    videos = [stream for stream in videos if stream.codec_context is not None]
    if not videos:
        codec = _four_letters(Path(container.name.removeprefix("file:")))
        raise input_resolver.UnknownFormat(
            f'{name}: video codec "{codec}" cannot be decoded; convert it first: '
            f"ffmpeg -i {name} -c:v libx264 -crf 12 out.mp4"
        )
    default = [stream for stream in videos if stream.disposition & Disposition.default]
    if len(default) == 1:
        return default[0]
    return max(default or videos, key=lambda stream: (stream.width or 0) * (stream.height or 0))


def _four_letters(path: Path) -> str:
    """The code of the first sample description in an mp4 or mov file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        place = data.find(b"stsd")
        return "unknown" if place < 0 else data[place + 16 : place + 20].decode("ascii", "replace").strip()


def describe(
    name: str, path: Path, container: InputContainer, stream: VideoStream, first: VideoFrame, timeline: Timeline
) -> VideoInfo:
    """The facts of `stream`, whose first decoded frame is given."""
    stream_color = color.effective(first)
    orientation, notes = _orientation(first)
    time_base = Fraction(stream.time_base or Fraction(1, 90000))
    shown = None if first.pts is None else Fraction(first.pts) * time_base
    origin = _origin(container) if shown is None else min(_origin(container), shown)
    fps, is_vfr, scan_notes = _rate(name, container, stream, timeline)
    sar = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
    sar = 1 / sar if orientation.transpose else sar
    size = (first.height, first.width) if orientation.transpose else (first.width, first.height)
    return VideoInfo(
        name=name,
        path=str(path),
        container=container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        width=max(1, round(size[0] * sar)) if sar > 1 or orientation.transpose else round(size[0] * sar),
        height=size[1],
        coded_width=first.width,
        coded_height=first.height,
        orientation=orientation,
        sar=sar,
        fps=fps,
        is_vfr=is_vfr,
        time_base=time_base,
        origin=origin,
        start=Fraction(0) if shown is None else shown - origin,
        duration=timeline.length or _duration(container, stream),
        expected_frames=stream.frames or None,
        pixel_format=first.format.name,
        bit_depth=max(component.bits for component in first.format.components),
        color=stream_color,
        has_alpha=color.has_alpha(first),
        interlaced=first.interlaced_frame,
        stream_index=stream.index,
        audio=tuple(_audio(each) for each in container.streams.audio),
        subtitles=tuple(_subtitle(each) for each in container.streams.subtitles),
        chapters=_chapters(container, origin),
        metadata=_metadata(container.metadata),
        notes=(*notes, *scan_notes, *_notes(name, stream_color.hdr, is_vfr, timeline)),
        timeline=timeline,
        marks=_marks(first),
        loop=_loop(path) if container.format.name == "gif" else None,
        last_duration=_last_duration(container, stream, fps),
    )


def _notes(name: str, hdr: str | None, is_vfr: bool, timeline: Timeline) -> Iterator[str]:
    if timeline.offsets:
        parts = len(timeline.offsets)
        yield f"{name}: its timestamps are not continuous; {parts} parts are joined, picture and sound alike"
    if hdr:
        yield f"{name}: HDR ({hdr.upper()}) is tone-mapped to standard dynamic range (BT.709)"
    if is_vfr:
        yield f"{name}: frames have uneven times, which are kept as they are"


def _marks(first: VideoFrame) -> tuple[str, ...]:
    side_data: Any = first.side_data
    return tuple(data.type.name for data in side_data)


def _loop(path: Path) -> int:
    """How often a GIF is repeated, as the muxer counts: 0 for ever, -1 not at all."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return int(image.info.get("loop", -1))
    except (OSError, ValueError, SyntaxError):
        return 0


def _orientation(frame: VideoFrame) -> tuple[Orientation, list[str]]:
    """Read the display matrix; only its eight upright positions are followed."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return Orientation(), []
    (a, b, _), (c, d, _), _ = (np.frombuffer(data, "<i4").reshape(3, 3) / 65536).tolist()
    if b == c == 0 and a and d:
        return Orientation(False, a < 0, d < 0), []
    if a == d == 0 and b and c:
        return Orientation(True, c < 0, b < 0), []
    return Orientation(), ["the video has a slanted rotation, which is ignored"]


def _origin(container: InputContainer) -> Fraction:
    """The exact common zero of video and audio: the stream start that the container stores rounded."""
    streams = [*container.streams.video, *container.streams.audio]
    timed = [stream for stream in streams if stream.start_time is not None and stream.time_base]
    starts = [Fraction(stream.start_time) * Fraction(stream.time_base) for stream in timed]
    rounded = Fraction(container.start_time or 0, 1_000_000)
    return min(starts, key=lambda start: abs(start - rounded), default=rounded)


def _duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    if stream.duration and stream.time_base:
        return Fraction(stream.duration) * Fraction(stream.time_base)
    tagged = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if tagged:
        hours, minutes, seconds = map(Fraction, tagged.groups())
        return hours * 3600 + minutes * 60 + seconds
    return Fraction(container.duration, 1_000_000) if container.duration else None


def _last_duration(container: InputContainer, stream: VideoStream, fps: Fraction) -> Fraction | None:
    """The length of the last sample in an mp4 or mov, if it is more than a frame: the last picture is held so long."""
    entries, tick = stream.index_entries, Fraction(stream.time_base or 1)
    if "mp4" not in container.format.name or len(entries) < 2 or not stream.duration:
        return None
    length = (stream.duration - (entries[len(entries) - 1].timestamp - entries[0].timestamp)) * tick
    return length if length > 1 / fps + tick else None


def _rate(
    name: str, container: InputContainer, stream: VideoStream, timeline: Timeline
) -> tuple[Fraction, bool, list[str]]:
    """The frame rate, whether frame times are uneven, and notes for the user."""
    labels = [Fraction(rate) for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate) if rate]
    rates = list(dict.fromkeys(_standard(rate) for rate in labels))
    label = rates[0] if rates else Fraction(25)
    times, complete = _times(container, stream, timeline)
    if len(times) < 2:
        guessed = Fraction(stream.guessed_rate or 0) or label
        note = f"{name}: has no times; {float(guessed):g} frames a second are assumed"
        return guessed, False, [] if complete else [note]
    tick = Fraction(stream.time_base or 0)
    fits = [rate for rate in rates if _on_grid(times, rate, tick, complete)]
    if fits:
        return min(fits, key=lambda rate: _error(times, rate)), False, []
    return _nearest(times, rates, tick), True, []


def _nearest(times: list[Fraction], labels: list[Fraction], tick: Fraction) -> Fraction:
    """The rate of uneven times: a label of the file that is their mean, to a frame, or else the one nearest in length.

    That is the mean, a usual rate, or a label, which is preferred unless frames of its length are off by a fifth more.
    """
    steps = [after - before for before, after in itertools.pairwise(times) if after > before]
    if not steps:
        return labels[0] if labels else Fraction(25)
    for label in labels:
        if abs(label * sum(steps) - len(steps)) <= 1:
            return label

    def error(rate: Fraction) -> Fraction:
        return sum((max(abs(step - 1 / rate) - tick, Fraction(0)) for step in steps), Fraction(0))

    best = min(_standard(len(steps) / sum(steps, Fraction(0))), *map(Fraction, USUAL_RATES), key=error)
    return next((label for label in labels if error(label) <= error(best) * Fraction(6, 5)), best)


def _error(times: list[Fraction], rate: Fraction) -> Fraction:
    """How far the times lie off a rate's, in frames."""
    return max(abs((time - times[0]) * rate - round((time - times[0]) * rate)) for time in times)


def _standard(rate: Fraction) -> Fraction:
    """The integer or NTSC rate nearest to a measured one (60000/1001 for 19001/317)."""
    candidates = [Fraction(round(rate)), Fraction(round(rate * 1001 / 1000) * 1000, 1001)]
    return next((each for each in candidates if abs(each / rate - 1) < Fraction(2, 10_000)), rate)


def _times(container: InputContainer, stream: VideoStream, timeline: Timeline) -> tuple[list[Fraction], bool]:
    """The presentation times of the first packets in seconds, and whether each has one."""
    tick = Fraction(stream.time_base or 0)
    if len(stream.index_entries) > 2 and "mp4" in container.format.name:
        return sorted(entry.timestamp * tick for entry in stream.index_entries), True
    packets = list(itertools.islice(shifted(quiet_packets(container, stream), timeline), SCANNED_PACKETS))
    times = [packet.pts * tick for packet in packets if packet.pts is not None]
    # The last few may wait for packets in between that were not read.
    reliable = sorted(times)[:-16] if len(packets) == SCANNED_PACKETS else sorted(times)
    return reliable, len(times) == len(packets)


def quiet_packets(container: InputContainer, stream: VideoStream) -> Iterator[Any]:
    """Demux until the end or the first damage."""
    import av

    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except av.FFmpegError:
        return


def _on_grid(times: list[Fraction], rate: Fraction, tick: Fraction, complete: bool) -> bool:
    for position, time in enumerate(times):
        frame = (time - times[0]) * rate
        if abs(frame - round(frame)) > tick * rate or (complete and round(frame) != position):
            return False
    return True


def _metadata(tags: dict[str, str]) -> dict[str, str]:
    """Keep what a user wrote; a tag that a muxer stored twice comes back as "A;A"."""
    user_tags = {key: value for key, value in tags.items() if key.lower() not in STALE_TAGS}
    for key, value in user_tags.items():
        half = value[: len(value) // 2]
        if value == f"{half};{half}":
            user_tags[key] = half
    return user_tags


def _audio(stream: Any) -> AudioTrack:
    tags = stream.metadata
    codec = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
    context = stream.codec_context
    rate, channels = (context.sample_rate, context.channels) if context else (0, 0)
    return AudioTrack(stream.index, codec, rate, channels, stream.language, tags.get("title"))


def _subtitle(stream: Any) -> SubtitleTrack:
    codec = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
    return SubtitleTrack(stream.index, codec, stream.language, stream.metadata.get("title"))


def _chapters(container: InputContainer, origin: Fraction) -> tuple[Chapter, ...]:
    chapters = []
    for chapter in container.chapters():
        base = Fraction(chapter["time_base"] or Fraction(1, 1000))
        times = (chapter["start"] * base - origin, chapter["end"] * base - origin)
        chapters.append(Chapter(*times, dict(chapter["metadata"])))
    return tuple(chapters)
