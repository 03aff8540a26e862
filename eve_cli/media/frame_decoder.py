"""Decoded pictures of an open file, from a keyframe on, made progressive where they are interlaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from eve_cli.media import color, probe, seek
from eve_cli.media.clip import Report, VideoInfo
from eve_cli.media.discontinuities import ONE_PART, Timeline, shifted

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

DEINTERLACE = [("bwdif", "mode=send_frame:deint=interlaced")]


class DamageError(Exception):
    """A packet could not be decoded; threads lose its neighbours too, so the caller continues without them."""


def decode_threaded(
    container: InputContainer,
    name: str,
    target: Fraction | None,
    reopen: Callable[[], InputContainer],
    timeline: Timeline = ONE_PART,
) -> Iterator[VideoFrame]:
    """Decode with all cores until the end or the first damage (DamageError)."""
    import av

    stream = probe.pick_stream(name, container)
    stream.thread_type = "AUTO"
    decoder = _decoder(stream)
    for packet in shifted(seek.packets(container, stream, target, reopen), timeline):
        try:
            frames = decoder.decode(packet if packet.size else None)
        except av.FFmpegError:
            raise DamageError from None
        if any(frame.is_corrupt for frame in frames):
            raise DamageError
        yield from frames


def decode_tolerant(
    container: InputContainer,
    name: str,
    target: Fraction | None,
    reopen: Callable[[], InputContainer],
    report: Report,
    timeline: Timeline = ONE_PART,
) -> Iterator[VideoFrame]:
    """Decode one packet after the other, skipping and counting what is damaged."""
    import av

    stream = probe.pick_stream(name, container)
    stream.codec_context.thread_count = 1
    decoder = _decoder(stream)
    for packet in shifted(seek.packets(container, stream, target, reopen), timeline):
        try:
            frames = decoder.decode(packet if packet.size else None)
        except EOFError:
            return
        except av.FFmpegError:
            report.corrupt += 1
            continue
        report.corrupt += sum(frame.is_corrupt for frame in frames)
        yield from (frame for frame in frames if not frame.is_corrupt)


def _decoder(stream: VideoStream) -> Any:
    """Choose the decoder: FFmpeg's own for VP8 and VP9 would drop transparency."""
    import av

    codec = stream.codec_context.codec.canonical_name
    if codec in ("vp8", "vp9") and stream.metadata.get("alpha_mode") == "1":
        return av.CodecContext.create("libvpx-vp9" if codec == "vp9" else "libvpx", "r")
    return stream.codec_context


def deinterlaced(decoded: Iterator[VideoFrame], info: VideoInfo, report: Report) -> Iterator[VideoFrame]:
    """Turn interlaced frames into progressive ones, as many as before and at the same times."""
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
            graph = color.build(frame, DEINTERLACE, info.time_base)
            report.warn(f"{info.name}: interlaced; each frame is made progressive")
        yield from color.run(graph, frame)
    if graph is not None:
        yield from color.run(graph, None)
