"""Frame noise: a function of the seed, the frame and the stream, and standard normal."""

import torch

from eve_cli.diffusion.noise import frame_noise


def test_a_frame_has_the_same_noise_in_every_window() -> None:
    whole = frame_noise(7, range(12), (4, 3, 5))
    assert torch.equal(frame_noise(7, [5, 6, 7], (4, 3, 5)), whole[5:8])
    assert torch.equal(frame_noise(7, [9, 2], (4, 3, 5)), whole[[9, 2]])


def test_neither_other_draws_nor_global_seeds_matter() -> None:
    torch.manual_seed(0)
    first = frame_noise(7, [3], (2, 2, 2))
    torch.manual_seed(1)
    torch.randn(5)
    assert torch.equal(frame_noise(7, [3], (2, 2, 2)), first)


def test_seeds_frames_and_streams_differ() -> None:
    drawn = [
        frame_noise(seed, [frame], (1, 4, 4), stream)
        for seed in (0, 1, 10)
        for frame in (0, 1, 10)
        for stream in (0, 1, 10)
    ]
    assert len({tuple(noise.flatten().tolist()) for noise in drawn}) == 27


def test_it_is_standard_normal_and_frames_are_independent() -> None:
    noise = frame_noise(0, range(64), (4, 16, 16)).flatten(1)
    assert noise.mean().abs() < 0.01 and (noise.std() - 1).abs() < 0.01
    correlation = (noise @ noise.T / noise.shape[1]) - torch.eye(64) * noise.pow(2).mean(1)
    assert correlation.abs().max() < 0.15


def test_this_very_noise_is_kept_over_versions() -> None:
    """A number that must not change: old renders could otherwise not be repeated."""
    first = frame_noise(7, [3], (4, 8, 8))[0, 0, 0]
    assert torch.allclose(first[:3], torch.tensor([-1.969209, -0.381889, 2.630953]), atol=1e-6)
