"""Plans in words."""

import pytest

from eve_cli.cli import describe
from eve_cli.diffusion.windows import Window
from tests.plans import make_plan


@pytest.mark.parametrize(
    ("long", "spans", "said"),
    [
        ("sequential", [(0, 8)], "1 window of 8, overlap 2"),
        ("sequential", [(0, 8), (6, 14)], "2 windows of 8, overlap 2"),
        ("joint", [(0, 8), (8, 13)], "2 windows of 8, overlap 2"),
        ("joint", [(0, 32)], "denoised jointly in windows of 8, overlap 2"),
        ("joint", [(0, 62), (60, 120)], "2 spans, each denoised jointly in windows of 8, overlap 2"),
    ],
)
def test_a_plan_says_what_is_denoised_at_once(long: str, spans: list[tuple[int, int]], said: str) -> None:
    windows = [Window(number, start, stop, 0) for number, (start, stop) in enumerate(spans)]
    text = describe.plan(make_plan([range(120)], windows, long=long))
    assert text == f"mini · method eve · {said} · 3 steps · guidance 1 text, 1 video · seed 7"
