"""Timestamp discontinuities: recordings joined end to end, or a camera whose clock was reset.

Each part between two discontinuities has one offset, for picture, sound and subtitles alike, so that it begins when the
part before it has ended. A part is known by the position in the file where it begins: streams may be in one part only.
"""

from __future__ import annotations

from bisect import bisect_right
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
    """For each part after the first the byte where it begins, and for each part its offset; the length of all (s).

    All are empty where there is one part.
    """

    begins: tuple[int, ...] = ()
    offsets: tuple[Fraction, ...] = ()
    length: Fraction = Fraction(0)


ONE_PART = Timeline()


@dataclass
class _Stretch:
    """Packets of one stream without a leap: bytes where the first and last are, and seconds from start to end."""

    first: int
    last: int
    start: Fraction
    end: Fraction
    time: Fraction
    """When the last packet is decoded."""

    def leaps_to(self, other: _Stretch) -> bool:
        return not -BACK <= other.time - self.time <= AHEAD

    def extend(self, other: _Stretch) -> None:
        self.last, self.time = other.last, other.time
        self.start, self.end = min(self.start, other.start), max(self.end, other.end)


class _Stretches:
    """Collects the stretches of one stream; a packet whose time leaps alone is damaged, and ignored."""

    def __init__(self) -> None:
        self.done: list[_Stretch] = []
        self._waiting: _Stretch | None = None

    def add(self, packet: _Stretch) -> None:
        waiting, self._waiting = self._waiting, packet
        if waiting is None:
            return
        alone = self.done and self.done[-1].leaps_to(waiting) and not self.done[-1].leaps_to(packet)
        if not (alone and waiting.leaps_to(packet)):
            self._append(waiting)

    def all(self) -> list[_Stretch]:
        if self._waiting is not None:
            self._append(self._waiting)
            self._waiting = None
        return self.done

    def _append(self, packet: _Stretch) -> None:
        if not self.done or self.done[-1].leaps_to(packet):
            self.done.append(packet)
        else:
            self.done[-1].extend(packet)


def timeline(container: InputContainer, video: int) -> Timeline:
    """The parts of a file, by the leaps of its stream `video`; read only if its format has discontinuities.

    A leap of the picture while a sound track goes on is a pause, as is one of a sound track alone.
    """
    from av.format import Flags

    if Flags.ts_discont not in Flags(container.format.flags):
        return ONE_PART
    streams = [*container.streams.video, *container.streams.audio]
    collected = {stream.index: _Stretches() for stream in streams}
    for position, packet in _placed(through_damage(container, *streams)):
        time = packet.dts if packet.dts is not None else packet.pts
        if time is None:
            continue
        tick = Fraction(packet.time_base)
        start = (packet.pts if packet.pts is not None else time) * tick
        end = start + (packet.duration or 0) * tick
        collected[packet.stream_index].add(_Stretch(position, position, start, end, time * tick))
    stretches = {index: each.all() for index, each in collected.items()}
    others = [each for index, listed in stretches.items() if index != video for each in listed]
    begins: list[int] = []
    for before, after in zip(stretches[video], stretches[video][1:], strict=False):
        if not any(each.first <= before.last and each.last >= after.first for each in others):
            begins.append(min(each.first for each in (after, *others) if each.first > before.last))
    return _joined(begins, [*stretches[video], *others]) if begins else ONE_PART


def _joined(begins: list[int], stretches: list[_Stretch]) -> Timeline:
    parts: list[list[_Stretch]] = [[] for _ in range(len(begins) + 1)]
    for each in stretches:
        parts[bisect_right(begins, each.first)].append(each)
    offsets, end = [], Fraction(0)
    for number, part in enumerate(parts):
        start = min(each.start for each in part)
        offsets.append(end - start if number else Fraction(0))
        end = offsets[-1] + max(each.end for each in part)
    return Timeline(tuple(begins), tuple(offsets), end - min(each.start for each in parts[0]))


def _placed(packets: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """Packets and the byte where each is: those without one come from the same place as the one before."""
    last: dict[int, int] = {}
    for packet in packets:
        if packet.pos is not None and packet.pos >= 0:
            last[packet.stream_index] = packet.pos
        yield last.get(packet.stream_index, 0), packet


def shifted(packets: Iterable[Any], timeline: Timeline) -> Iterator[Any]:
    """The packets with their times on one clock."""
    for position, packet in _placed(packets):
        if timeline.offsets:
            offset = timeline.offsets[bisect_right(timeline.begins, position)]
            ticks = round(offset / Fraction(packet.time_base)) if offset else 0
            packet.dts = None if packet.dts is None else packet.dts + ticks
            packet.pts = None if packet.pts is None else packet.pts + ticks
        yield packet
