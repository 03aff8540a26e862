"""Timestamp discontinuities: recordings joined end to end, or a camera's clock set anew, in formats that allow them.

Each part between two discontinuities has one offset, for picture and sound alike, so that it begins when the part
before it has ended.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from eve_cli.media.seek import through_damage

if TYPE_CHECKING:
    from av.container import InputContainer

BACK, AHEAD = Fraction(1, 10), Fraction(10)
"""Seconds by which a time must go back, or leap ahead, to begin a new part (the limits of the ffmpeg program)."""


@dataclass(frozen=True)
class Timeline:
    """The offset of each part and the length of all, in seconds; no offsets where there is one part."""

    offsets: tuple[Fraction, ...] = ()
    length: Fraction = Fraction(0)


ONE_PART = Timeline()


class PartCounter:
    """The part that each time of some streams is in; a stream enters a part on its own, since packets interleave."""

    def __init__(self) -> None:
        self._parts: dict[int, int] = {}
        self._last: dict[int, Fraction] = {}

    def __call__(self, stream: int, seconds: Fraction, dense: bool = True) -> int:
        """The part, from 0. Sparse streams (`dense` false: subtitles) have no leaps of their own."""
        last = self._last.get(stream, seconds)
        leaps = last - seconds > BACK or (dense and seconds - last > AHEAD)
        self._last[stream] = seconds
        self._parts[stream] = self._parts.get(stream, 0) + leaps
        return self._parts[stream] if dense else max(self._parts.values())


def timeline(container: InputContainer) -> Timeline:
    """The parts of a file, from all its packets; read only if its format has discontinuities.

    One part where a sound track has other leaps than the picture, as one with pauses may.
    """
    from av.format import Flags

    if Flags.ts_discont not in Flags(container.format.flags):
        return ONE_PART
    part_of, spans = PartCounter(), dict[int, list[tuple[Fraction, Fraction]]]()
    for packet in through_damage(container, *container.streams.video, *container.streams.audio):
        time = packet.dts if packet.dts is not None else packet.pts
        if time is None:
            continue
        tick, shown = Fraction(packet.time_base), packet.pts if packet.pts is not None else time
        part, parts = part_of(packet.stream_index, time * tick), spans.setdefault(packet.stream_index, [])
        start, end = shown * tick, (shown + (packet.duration or 0)) * tick
        if part == len(parts):
            parts.append((start, end))
        parts[part] = (min(parts[part][0], start), max(parts[part][1], end))
    if len({len(parts) for parts in spans.values()}) != 1:
        return ONE_PART
    parts = [
        (min(start for start, _ in part), max(end for _, end in part)) for part in zip(*spans.values(), strict=True)
    ]
    offsets = [Fraction(0)]
    for before, after in itertools.pairwise(parts):
        offsets.append(offsets[-1] + before[1] - after[0])
    return Timeline(tuple(offsets), offsets[-1] + parts[-1][1] - parts[0][0]) if len(parts) > 1 else ONE_PART


def shifted(packets: Iterable[Any], timeline: Timeline) -> Iterator[Any]:
    """The packets with their times on one clock."""
    part_of, offsets = PartCounter(), timeline.offsets
    for packet in packets:
        time = packet.dts if packet.dts is not None else packet.pts
        if offsets and time is not None:
            tick = Fraction(packet.time_base)
            part = part_of(packet.stream_index, time * tick, packet.stream.type in ("video", "audio"))
            ticks = round(offsets[min(part, len(offsets) - 1)] / tick)
            packet.dts = None if packet.dts is None else packet.dts + ticks
            packet.pts = None if packet.pts is None else packet.pts + ticks
        yield packet
