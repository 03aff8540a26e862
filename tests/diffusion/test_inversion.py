"""Inversion: what it gives is what the sampler turns into the clip again, whatever the network predicts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from eve_cli.diffusion.inversion import invert
from eve_cli.diffusion.samplers import Denoise, ddim
from eve_cli.diffusion.schedule import Schedule, diffusers_config

ZERO = Schedule.zero_snr()
EPSILON = Schedule.from_diffusers(
    {**diffusers_config(ZERO), "rescale_betas_zero_snr": False, "prediction_type": "epsilon"}
)


def bent(schedule: Schedule) -> Denoise:
    """The denoiser of unit normal data, bent, with a network's prediction in between."""

    def denoise(noisy: Tensor, t: Tensor) -> Tensor:
        alpha, _ = schedule.at(t, noisy)
        clean = alpha * (noisy + 0.3 * noisy.flip(-1).sin())
        noise = schedule.to_noise(noisy, clean, t)
        output = noise if schedule.prediction == "eps" else schedule.velocity(clean, noise, t)
        return schedule.to_clean(noisy, output, t)

    return denoise


def error(schedule: Schedule, steps: int, corrections: int) -> float:
    clip, times = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1)), schedule.trailing(steps)
    path = invert(bent(schedule), schedule, clip, times, corrections=corrections)
    assert len(path) == steps and all(each.shape == clip.shape and each.isfinite().all() for each in path)
    return float((ddim(bent(schedule), schedule, path[0], times) - clip).abs().max())


@pytest.mark.parametrize("schedule", [ZERO, EPSILON], ids=["velocity, zero signal", "epsilon"])
def test_sampling_from_what_inversion_gives_returns_the_clip(schedule: Schedule) -> None:
    assert error(schedule, 50, corrections=12) < 1e-4


def test_every_correction_brings_it_nearer() -> None:
    by_corrections = [error(ZERO, 20, corrections) for corrections in (0, 1, 3)]
    assert by_corrections[0] > 3 * by_corrections[1] > 6 * by_corrections[2]


def test_the_path_is_the_sampler_s_own() -> None:
    clip, times, seen = torch.randn(1, 4, generator=torch.Generator().manual_seed(2)), ZERO.trailing(20), []
    denoise = bent(ZERO)
    path = invert(denoise, ZERO, clip, times, corrections=12)
    ddim(lambda noisy, t: seen.append(noisy) or denoise(noisy, t), ZERO, path[0], times)
    torch.testing.assert_close(torch.stack(seen), torch.stack(path), atol=1e-4, rtol=0)


def test_it_counts_its_steps_and_one_step_stays_finite() -> None:
    told: list[tuple[int, int]] = []
    invert(bent(ZERO), ZERO, torch.ones(1, 2), ZERO.trailing(3), progress=lambda *step: told.append(step))
    assert told == [(1, 3), (2, 3), (3, 3)]
    # at zero signal a single step predicts the mean, which is zero here, whatever the noise is
    largest = float(torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1)).abs().max())
    assert error(ZERO, 1, corrections=0) == pytest.approx(largest, abs=1e-5)
