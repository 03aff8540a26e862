"""The part of a source that is kept."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Span:
    """Where what is kept begins, in seconds of the source's own file time; the end is checked elsewhere."""

    zero: Fraction
    from_start: bool

    def keeps(self, start: Fraction, end: Fraction, pre_roll: Fraction | None) -> bool:
        """Whether a packet from `start` to `end` (seconds) belongs to the output."""
        if self.from_start:
            return True
        return start >= self.zero if pre_roll is None else end > self.zero - pre_roll

    def clipped(self, start: Fraction, length: Fraction) -> tuple[Fraction, Fraction]:
        """Move a start and length in file time to output time, without what lies before the span."""
        start -= self.zero
        return (start, length) if self.from_start or start >= 0 else (Fraction(0), start + length)
