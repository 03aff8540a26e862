"""DDIM: exact where the answer is known, and equal to diffusers' where that can go."""

import itertools
import math

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from eve_cli.diffusion.samplers import ddim, ddim_step, renoised
from eve_cli.diffusion.schedule import Schedule, diffusers_config


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def gaussian(schedule: Schedule, mean: float, deviation: float):
    """The best possible denoiser of data drawn from one normal distribution."""

    def denoise(noisy: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = schedule.at(t, noisy)
        gain = alpha * deviation**2 / ((alpha * deviation) ** 2 + sigma**2)
        return mean + gain * (noisy - alpha * mean)

    return denoise


@pytest.mark.parametrize("n", [1, 3, 10])
def test_a_single_point_is_reached_exactly(n: int) -> None:
    schedule = Schedule.zero_snr()
    found = ddim(gaussian(schedule, 0.7, 0.0), schedule, noise(2, 3), schedule.trailing(n))
    assert torch.allclose(found, torch.full((2, 3), 0.7), atol=1e-6)


@pytest.mark.parametrize("n", [3, 10, 50])
def test_unit_normal_data_shrinks_by_the_cosine_of_each_turn(n: int) -> None:
    """alpha and sigma are a cosine and a sine; for such data a DDIM step of angle d multiplies by cos d."""
    schedule = Schedule.zero_snr()
    start = noise(2, 3).double()
    angles = torch.atan2(schedule.sigma, schedule.alpha)[schedule.trailing(n)].tolist()
    turns = [a - b for a, b in itertools.pairwise(angles)]
    shrunk = math.prod(math.cos(turn) for turn in turns) * math.cos(angles[-1])
    found = ddim(gaussian(schedule, 0.0, 1.0), schedule, start, schedule.trailing(n))
    assert torch.allclose(found, start * shrunk, atol=1e-5)


def test_many_steps_carry_noise_to_the_data_distribution() -> None:
    schedule = Schedule.zero_snr()
    start = noise(4, 100)
    coarse, fine = (
        ddim(gaussian(schedule, 2.0, 0.5), schedule, start, schedule.trailing(n)) - (2 + 0.5 * start)
        for n in (10, 1000)
    )
    assert fine.abs().max() < 0.02
    assert fine.abs().max() < coarse.abs().max() / 10


@pytest.mark.parametrize("n", [4, 10, 20, 50])
@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon", "sample"])
def test_equals_the_steps_of_diffusers(n: int, prediction: str) -> None:
    config = dict(diffusers_config(Schedule.zero_snr())) | {
        "prediction_type": prediction,
        "rescale_betas_zero_snr": prediction != "epsilon",
    }
    schedule, theirs = Schedule.from_diffusers(config), DDIMScheduler.from_config(config)
    theirs.set_timesteps(n)
    weight = noise(6, 6) / 3

    def network(noisy: Tensor, t: Tensor | int) -> Tensor:
        return torch.tanh(noisy @ weight)

    expected = noise(2, 6)
    for t in theirs.timesteps:
        expected = theirs.step(network(expected, t), t, expected).prev_sample
    found = ddim(
        lambda noisy, t: schedule.to_clean(noisy, network(noisy, t), t), schedule, noise(2, 6), schedule.trailing(n)
    )
    assert torch.allclose(found, expected, atol=2e-4 if prediction == "epsilon" else 2e-5)


def test_timesteps_may_differ_between_samples() -> None:
    schedule = Schedule.zero_snr()
    denoise = gaussian(schedule, 1.0, 0.5)
    rows = schedule.kbin(3, torch.Generator().manual_seed(0), batch=2)
    start = noise(2, 5)
    together = ddim(denoise, schedule, start, rows)
    apart = [ddim(denoise, schedule, start[i : i + 1], rows[:, i]) for i in range(2)]
    assert torch.equal(together, torch.cat(apart))


def test_a_step_to_the_end_returns_the_clean_estimate_and_one_may_end_alone() -> None:
    schedule = Schedule.zero_snr()
    noisy, clean, t = noise(2, 3), noise(2, 3) / 2, torch.tensor([999, 400])
    assert torch.equal(ddim_step(schedule, noisy, clean, t, -1), clean)
    mixed = ddim_step(schedule, noisy, clean, t, torch.tensor([-1, 200]))
    assert torch.equal(mixed[0], clean[0]) and not torch.equal(mixed[1], clean[1])


def test_a_correction_replaces_the_estimate_and_progress_is_told() -> None:
    schedule = Schedule.zero_snr()
    steps: list[int] = []
    seen: list[tuple[int, int]] = []

    def correct(step: int, noisy: Tensor, clean: Tensor, t: Tensor) -> Tensor:
        steps.append(step)
        return torch.cat([torch.full_like(clean[:, :1], 9.0), clean[:, 1:]], dim=1)

    found = ddim(
        gaussian(schedule, 0.0, 1.0),
        schedule,
        noise(2, 4),
        schedule.trailing(3),
        correct=correct,
        progress=lambda done, of: seen.append((done, of)),
    )
    assert steps == [0, 1, 2] and seen == [(1, 3), (2, 3), (3, 3)]
    assert (found[:, 0] == 9).all()


def test_gradients_pass_through_all_steps() -> None:
    schedule = Schedule.zero_snr()
    scale = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    start = noise(1, 4).double()

    def run(scale: Tensor) -> Tensor:
        return ddim(lambda noisy, t: torch.tanh(scale * noisy), schedule, start, schedule.trailing(3)).sum()

    (gradient,) = torch.autograd.grad(run(scale), scale)
    step = 1e-6
    measured = (run(scale.detach() + step) - run(scale.detach() - step)) / (2 * step)
    assert torch.allclose(gradient, measured, rtol=1e-6)


def test_stochastic_steps_keep_the_amount_of_noise_and_are_ddim_without_any() -> None:
    schedule = Schedule.zero_snr()
    clean, noise, fresh = (torch.randn(20_000, 2, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    for start, end in ((999, 700), (700, 300)):
        t, following = (torch.full((len(clean),), at) for at in (start, end))
        noisy = schedule.add_noise(clean, noise, t)
        plain = ddim_step(schedule, noisy, clean, t, following)
        torch.testing.assert_close(renoised(schedule, noisy, clean, t, following, fresh, 0.0), plain)
        for eta in (0.5, 1.0):
            left = schedule.to_noise(renoised(schedule, noisy, clean, t, following, fresh, eta), clean, following)
            assert abs(float(left.std()) - 1) < 0.02
            assert 0.05 < float((left * fresh).mean()) <= 1.01


def test_fresh_noise_is_asked_for_once_a_step_but_the_last() -> None:
    schedule, noise, asked = Schedule.zero_snr(), torch.ones(1, 2), list[int]()

    def fresh(step: int) -> torch.Tensor:
        asked.append(step)
        return torch.zeros(1, 2)

    ddim(lambda noisy, t: noisy, schedule, noise, schedule.trailing(4), fresh=fresh)
    assert asked == [0, 1, 2]
