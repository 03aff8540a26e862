"""Schedules: three predictions of one thing, diffusers' tables, and timesteps that stay in their bins."""

import pytest
import torch
from diffusers import DDIMScheduler

from eve_cli.diffusion.schedule import Prediction, Schedule, diffusers_config


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prediction", ["v", "x0", "eps"])
def test_the_target_leads_back_to_clean_and_noise(prediction: Prediction) -> None:
    tables = Schedule.zero_snr()
    schedule = Schedule(tables.alpha[:990], tables.sigma[:990], prediction)
    clean, noise = normal(4, 3, 5, 5), normal(4, 3, 5, 5, seed=1)
    t = torch.tensor([0, 10, 500, 900])
    noisy = schedule.add_noise(clean, noise, t)
    found = schedule.to_clean(noisy, schedule.target(clean, noise, t), t)
    assert torch.allclose(found, clean, atol=1e-4)
    assert torch.allclose(schedule.to_noise(noisy, found, t), noise, atol=2e-3)


def test_at_zero_snr_the_last_step_is_noise_alone() -> None:
    schedule = Schedule.zero_snr()
    clean, noise, t = normal(2, 4), normal(2, 4, seed=1), torch.tensor([999, 999])
    noisy = schedule.add_noise(clean, noise, t)
    assert torch.equal(noisy, noise)
    assert torch.equal(schedule.to_clean(noisy, schedule.velocity(clean, noise, t), t), clean)
    with pytest.raises(ValueError, match="zero signal"):
        Schedule.zero_snr(prediction="eps")


def test_velocity_and_noising_are_those_of_diffusers() -> None:
    schedule = Schedule.zero_snr()
    theirs = DDIMScheduler.from_config(diffusers_config(schedule))
    clean, noise, t = normal(3, 4, 2, 2), normal(3, 4, 2, 2, seed=1), torch.tensor([0, 400, 999])
    assert torch.allclose(schedule.add_noise(clean, noise, t), theirs.add_noise(clean, noise, t), atol=1e-5)
    assert torch.allclose(schedule.velocity(clean, noise, t), theirs.get_velocity(clean, noise, t), atol=1e-5)


def test_tables_stay_exact_when_latents_are_half() -> None:
    schedule = Schedule.zero_snr()
    zeros, noise = torch.zeros(1, 4).bfloat16(), torch.ones(1, 4).bfloat16()
    noisy = schedule.add_noise(zeros, noise, torch.tensor([0]))
    assert noisy.dtype == torch.float32
    assert noisy[0, 0] == schedule.sigma[0] > 0


@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_native_tables_are_those_of_diffusers(kind: str) -> None:
    theirs = DDIMScheduler(beta_schedule=kind, beta_start=0.00085, beta_end=0.012)
    ours = Schedule.from_diffusers(theirs.config)
    assert ours.prediction == "eps"
    assert torch.allclose(ours.alpha**2, theirs.alphas_cumprod, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 10, 15, 20, 30, 48, 50, 100, 1000])
def test_trailing_is_that_of_diffusers_and_the_upper_edges(n: int) -> None:
    schedule = Schedule.zero_snr()
    theirs = DDIMScheduler(timestep_spacing="trailing")
    theirs.set_timesteps(n)
    assert schedule.trailing(n).tolist() == theirs.timesteps.tolist()
    assert schedule.trailing(n).tolist() == [edge - 1 for edge in schedule.edges(n)[:0:-1]]


@pytest.mark.parametrize("k", [1, 3, 7])
def test_kbin_draws_one_timestep_from_each_bin(k: int) -> None:
    schedule = Schedule.zero_snr()
    edges = schedule.edges(k)
    drawn = schedule.kbin(k, torch.Generator().manual_seed(0), anchor_first=False, batch=5000)
    assert drawn.shape == (k, 5000)
    for row, (low, high) in enumerate(zip(edges[-2::-1], edges[:0:-1], strict=True)):
        assert low <= drawn[row].min() and drawn[row].max() < high
        assert drawn[row].unique().numel() > 0.9 * (high - low)
    anchored = schedule.kbin(k, torch.Generator().manual_seed(0))
    assert anchored.shape == (k,) and anchored[0] == 999
    assert anchored.tolist() == sorted(anchored.tolist(), reverse=True)
