"""Each nasty file of the shared data gives the facts that its table states."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from eve_cli.errors import InputError
from eve_cli.media.decode import VideoReader

FOLDER = Path(os.environ.get("EVE_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "media"
TABLE = FOLDER / "media.csv"
ROWS: list[dict[str, Any]] = list(csv.DictReader(TABLE.open())) if TABLE.exists() else []
# The table tells the first stream; the one to take is the largest.
LARGEST = {"file": "two_video_two_audio.mp4", "width": 480, "height": 270, "frames_decoded": 390, "avg_fps": 29.97}
LARGEST |= {"last_pts_s": 12.9796}
ERRORS = {"truncated_no_moov.mp4": "index is missing", "zero_bytes.webm": "is empty", "audio_only.ogg": "no video"}
DEPTHS = {"yuv420p10le": 10, "yuv444p12le": 12, "yuva444p12le": 12}


@pytest.mark.slow
@pytest.mark.skipif(not ROWS, reason="the shared test data is not here (set EVE_SHARED_DATA to its folder)")
@pytest.mark.parametrize("row", ROWS, ids=[row["file"] for row in ROWS])
def test_file(row: dict[str, Any]) -> None:
    path = FOLDER / row["file"]
    if row["file"] in ERRORS:
        with pytest.raises(InputError, match=ERRORS[row["file"]]):
            VideoReader(path)
        return
    row = row | (LARGEST if row["file"] == LARGEST["file"] else {})
    small = (40, 30)
    with VideoReader(path, size=small) as reader:
        info = reader.info
        shown = (info.width, info.height)
        frames = list(reader)
        report = reader.report
    assert info.container == row["container"] and info.codec == row["video_codec"].replace("libdav1d", "av1")
    assert shown == tuple(map(int, row["display_size"].split("x"))) if row["display_size"] else True
    assert (info.coded_width, info.coded_height) == (int(row["width"]), int(row["height"]))
    assert len(frames) == int(row["frames_decoded"])
    assert float(frames[0].pts + info.origin) == pytest.approx(float(row["first_pts_s"]), abs=1e-3)
    assert float(frames[-1].pts + info.origin) == pytest.approx(float(row["last_pts_s"]), abs=1e-3)
    assert float(info.fps) == pytest.approx(float(row["avg_fps"]), abs=0.01)
    times = [float(frame.pts) for frame in frames]
    if row["file"] not in ("no_duration_vp9_opus.webm", LARGEST["file"]):
        assert info.is_vfr == (row["constant_rate"] == "no")
    assert times == sorted(set(times))
    assert info.interlaced == (int(row["interlaced_frames"]) > 0)
    assert info.has_alpha == (
        "alpha channel" in row["corner_case"] or "alpha side" in row["corner_case"] or "GIF" in row["corner_case"]
    )
    assert info.color.hdr == ("pq" if "PQ" in row["corner_case"] else None)
    assert info.color.range == ("pc" if "full colour" in row["corner_case"] else "tv")
    assert info.bit_depth == DEPTHS.get(row["pix_fmt"], 8)
    assert len(info.audio) == (0 if row["audio"] == "none" else row["audio"].count(";") + 1)
    assert report.truncated == ("truncated" in row["file"])
    assert {frame.rgb.shape for frame in frames} == {(3, small[1], small[0])}
