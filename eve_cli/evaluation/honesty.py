"""What a table must say aloud: figures that look good because nothing was done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

STEADY = {"clip_frame": 0.97, "world_clip_frame": 0.97}  # likeness of frames that hardly any real edit reaches
GAINS = {"clip_frame": ("clip_text_gain", 0.1), "world_clip_frame": ("world_clip_gain", 0.02)}


def warnings(rows: Sequence[Mapping[str, float]], copied: Sequence[Mapping[str, float]] = ()) -> list[str]:
    """Sentences about a method's edits, one row of values each; ``copied`` are the same edits with the input copied.

    An editor whose frames are very alike, or as alike as the input's own, and whose text alignment is the copied
    input's, has done nothing that the captions asked for.
    """
    said = []
    for name, (gain, least) in GAINS.items():
        likeness, gained = mean(rows, name), mean(rows, gain)
        bar = min(STEADY[name], mean(copied, name)) if not math.isnan(mean(copied, name)) else STEADY[name]
        if likeness >= bar and gained < least:
            said.append(
                f"{name} is high ({likeness:.3f}), but the text fits no better than it fits the input copied"
                f" ({gain} {gained:+.3f}): doing nothing looks like this."
            )
    for name in ("viclip_unchanged", "world_viclip_unchanged"):
        share = mean(rows, name)
        if share > 0:
            said.append(f"{share:.0%} of the edits change nothing that {name.removesuffix('_unchanged')} sees: dir 0.")
    if rows and all(row.get("change_all", 1.0) == 0 for row in rows):
        said.append("Every edit is its source, unchanged.")
    return said


def mean(rows: Sequence[Mapping[str, float]], name: str) -> float:
    """The mean of a column's finite values; NaN without any."""
    values = [row[name] for row in rows if name in row and math.isfinite(row[name])]
    return math.fsum(values) / len(values) if values else math.nan
