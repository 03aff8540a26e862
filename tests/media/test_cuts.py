"""Scene cuts: the known one is found, and no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eve_cli.media.cuts import CutSettings, change, cuts_of, find_cuts, small


def shot(seed: int, frames: int) -> list[np.ndarray]:
    """Make a drifting picture of random blocks."""
    blocks = np.random.default_rng(seed).integers(0, 256, (3, 4, 6), np.uint8).repeat(16, 1).repeat(16, 2)
    return [np.roll(blocks, step, 2) for step in range(frames)]


def test_cuts_between_shots() -> None:
    pictures = shot(1, 20) + shot(2, 25) + shot(3, 15)
    assert list(find_cuts(pictures)) == [20, 45]


def test_short_shots_are_not_split() -> None:
    assert len(list(find_cuts(shot(1, 20) + shot(2, 3) + shot(1, 20)))) == 1
    assert list(find_cuts(shot(1, 20) + shot(2, 3) + shot(1, 20), CutSettings(around=1, shortest=1))) == [20, 23]


def test_a_fade_and_a_flash_of_light_are_no_cuts() -> None:
    base = shot(1, 1)[0].astype(float)
    fade = [(base * step / 40).astype(np.uint8) for step in range(40)]
    assert list(find_cuts(fade)) == []


def test_nothing_and_one_frame() -> None:
    assert list(find_cuts([])) == [] == list(find_cuts(shot(1, 1)))
    assert change(small(shot(1, 1)[0]), small(shot(1, 1)[0])) == 0


def test_real_clips(shared_data: Path) -> None:
    clips = sorted((shared_data / "clips").glob("*.mp4"))
    if not clips:
        pytest.skip("no clips here")
    chosen = [
        clip for clip in clips if clip.stem.startswith("tgve") or clip.stem in ("cat-puff", "flamingo", "man-skiing")
    ]
    found = {clip.name: cuts for clip in chosen if (cuts := cuts_of(clip))}
    assert found == {"tgve_audi-snow-trail.mp4": [68]}
