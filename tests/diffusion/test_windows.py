"""Windows cover a clip once, never cross a cut, and hold to each other."""

import pytest
import torch

from eve_cli.diffusion.windows import corrected_steps, hold_to, plan_spans, plan_windows, shots_between, split


@pytest.mark.parametrize("frames", [*range(1, 40), 100])
@pytest.mark.parametrize(("window", "overlap"), [(8, 2), (8, 1), (8, 7), (16, 4), (3, 2), (1, 0)])
def test_every_frame_is_new_once_and_every_window_is_whole(frames: int, window: int, overlap: int) -> None:
    windows = plan_windows([range(frames)], window, overlap)
    assert [frame for each in windows for frame in each.new] == list(range(frames))
    assert all(len(each.frames) == min(window, frames) for each in windows)
    assert all(each.overlap >= overlap for each in windows[1:])
    assert windows[0].overlap == 0


def test_the_paper_s_example() -> None:
    assert [(start, stop, shared) for start, stop, shared in split(32, 16, 4)] == [
        (0, 16, 0),
        (12, 28, 4),
        (16, 32, 12),
    ]


@pytest.mark.parametrize("frames", [1, 5, 16, 17, 28, 29, 100])
@pytest.mark.parametrize("overlap", [0, 2, 4])
def test_spans_are_even_and_no_longer_than_asked(frames: int, overlap: int) -> None:
    spans = plan_spans([range(frames), range(frames, frames + 3)], 16, overlap)
    assert [frame for each in spans for frame in each.new] == list(range(frames + 3))
    lengths = [len(each.frames) for each in spans if each.stop <= frames]
    assert max(lengths) <= 16 and max(lengths) - min(lengths) < max(len(lengths), 2)
    assert all(each.overlap == overlap for each in spans[1:-1]) and spans[-1].overlap == 0


def test_no_window_crosses_a_cut() -> None:
    shots = shots_between([20, 5, 5, 0, 31], 31)
    assert shots == [range(0, 5), range(5, 20), range(20, 31)]
    for each in plan_windows(shots, 8, 2):
        assert any(each.start >= shot.start and each.stop <= shot.stop for shot in shots)
    assert [each.start for each in plan_windows(shots, 8, 2) if not each.overlap] == [0, 5, 20]


def test_the_correction_puts_the_overlap_on_the_reference_and_moves_the_rest_along() -> None:
    clean, reference = torch.randn(1, 5, 2, 3, 3), torch.randn(1, 2, 2, 3, 3)
    moved = hold_to(reference, 10)(0, clean, clean, torch.tensor([999]))
    assert torch.equal(moved[:, :2], reference)
    torch.testing.assert_close(
        moved[:, 2:] - clean[:, 2:], (reference - clean[:, :2]).mean(1, True).expand(1, 3, 2, 3, 3)
    )
    assert hold_to(reference, 10)(corrected_steps(10), clean, clean, torch.tensor([9])) is clean


def test_it_is_the_correction_of_the_noise_that_the_paper_gives() -> None:
    x, clean, reference = (torch.randn(1, n, 1, 2, 2, dtype=torch.float64) for n in (4, 4, 2))
    a, s = 0.6, 0.8
    noise = (x - a * clean) / s
    difference = (x[:, :2] - a * reference) / s - noise[:, :2]
    corrected = torch.cat([noise[:, :2] + difference, noise[:, 2:] + difference.mean(1, keepdim=True)], 1)
    moved = hold_to(reference, 10)(0, x, clean, torch.tensor([500]))
    torch.testing.assert_close((x - s * corrected) / a, moved)
