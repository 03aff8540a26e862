from fractions import Fraction
from pathlib import Path

import pytest

from eve_cli.rating import clips


@pytest.fixture
def no_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies are created without encoding anything."""

    def touch(source: Path, target: Path, *_: object) -> Fraction:
        target.touch()
        return Fraction(1)

    monkeypatch.setattr(clips, "encode", touch)
    monkeypatch.setattr(clips, "pixelate", touch)
    monkeypatch.setattr(clips, "frame_rate", lambda path: Fraction(10))
