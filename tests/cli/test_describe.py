"""Plans in words."""

import pytest

from eve_cli.cli import describe


@pytest.mark.parametrize(
    ("long", "spans", "said"),
    [
        ("sequential", [(0, 8)], "1 window of 8, overlap 2"),
        ("sequential", [(0, 8), (6, 14)], "2 windows of 8, overlap 2"),
        ("joint", [(0, 8), (8, 13)], "2 windows of 8, overlap 2"),
        ("joint", [(0, 32)], "all in step in windows of 8, overlap 2"),
        ("joint", [(0, 62), (60, 120)], "2 stretches, each in step in windows of 8, overlap 2"),
    ],
)
def test_a_plan_says_what_is_denoised_at_once(long: str, spans: list[tuple[int, int]], said: str) -> None:
    request = {"model": "mini", "method": "eve", "window": 8, "overlap": 2, "long": long, "steps": 3, "seed": 7}
    request |= {"guidance_scale": 1.0, "image_guidance_scale": 1.0, "caption": None}
    windows = [{"start": start, "stop": stop} for start, stop in spans]
    told = describe.plan({"request": request, "record": {"model": {}}, "windows": windows})
    assert told == f"mini · method eve · {said} · 3 steps · guidance 1 text, 1 video · seed 7"
