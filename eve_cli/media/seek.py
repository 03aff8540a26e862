"""Packets from a keyframe at or before a time, so that every frame from that time on can be decoded."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Formats whose index can be trusted; the others are demuxed (not decoded) up to the right keyframe.
INDEXED = ("mp4", "matroska", "avi")
BACK_OFF = (0, 1, 2, 4, 8, 16, 32, 64)
RETRIES = 64


def packets(
    container: InputContainer, stream: VideoStream, target: Fraction | None, reopen: Callable[[], InputContainer]
) -> Iterator[Any]:
    """The stream's packets from a keyframe at or before `target` (seconds of file time), then the flush."""
    indexed = any(name in container.format.name for name in INDEXED)
    if target is None or (indexed and _seek_to_keyframe(container, stream, target)):
        yield from through_damage(container, stream)
    else:
        with reopen() as reopened:
            skipped = _packets_before_keyframe(reopened, reopened.streams[stream.index], target)
        with reopen() as reopened:
            yield from itertools.islice(through_damage(reopened, reopened.streams[stream.index]), skipped, None)


def through_damage(container: InputContainer, *streams: Any) -> Iterator[Any]:
    """Continue after damage where the demuxer can; end with one empty packet, which flushes the decoder."""
    import av

    for _ in range(RETRIES):
        try:
            yield from container.demux(*streams)
            return
        except av.FFmpegError:
            continue


def _seek_to_keyframe(container: InputContainer, stream: VideoStream, target: Fraction) -> bool:
    """Place the container so that its next packet is a keyframe shown at or before the target."""
    import av

    tick = Fraction(stream.time_base or 1)
    for seconds in BACK_OFF:
        try:
            container.seek(int((target - seconds) / tick), stream=stream)
            packet = next(container.demux(stream))
            if packet.pts is not None and packet.pts * tick <= target:
                container.seek(int((target - seconds) / tick), stream=stream)
                return True
        except (av.FFmpegError, StopIteration):
            continue
    return False


def _packets_before_keyframe(container: InputContainer, stream: Any, target: Fraction) -> int:
    """Count the packets before the last keyframe that is shown at or before the target."""
    tick = Fraction(stream.time_base)
    latest = 0
    for number, packet in enumerate(through_damage(container, stream)):
        if packet.is_keyframe and packet.pts is not None and packet.pts * tick <= target:
            latest = number
        elif packet.dts is not None and packet.dts * tick > target:
            break
    return latest
