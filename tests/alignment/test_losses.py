"""Losses of alignment against their formulas."""

import math

import pytest
import torch

from eve_cli.alignment import losses
from eve_cli.diffusion.schedule import Schedule

SCHEDULE = Schedule.zero_snr()


def latents(seed: int) -> torch.Tensor:
    return torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(seed))


def test_the_gradient_is_that_of_score_distillation_in_terms_of_noise() -> None:
    # w(t) (noise_teacher - noise) d noisy / d clean, with w such that c = alpha: w = sigma
    clean, target, noise = (latents(i) for i in range(3))
    t = torch.tensor([50, 400, 900])
    _, sigma = SCHEDULE.at(t, clean)
    noisy = SCHEDULE.add_noise(clean, noise, t)
    expected = sigma * (SCHEDULE.to_noise(noisy, target, t) - noise)
    made = clean.clone().requires_grad_()
    losses.distillation(made, target, losses.weight(SCHEDULE, t, made, "alpha"), normalise=False).backward()
    assert made.grad is not None
    torch.testing.assert_close(made.grad * made.numel(), expected, rtol=1e-3, atol=1e-4)


def test_uniform_and_dreamfusion_weights_are_what_the_paper_of_each_says() -> None:
    t, like = torch.tensor([200, 700]), torch.zeros(2, 1)
    alpha, sigma = SCHEDULE.at(t, like)
    torch.testing.assert_close(losses.weight(SCHEDULE, t, like, "uniform"), alpha / sigma)
    torch.testing.assert_close(losses.weight(SCHEDULE, t, like, "dreamfusion"), alpha / sigma * sigma**2)


def test_normalised_gradients_do_not_depend_on_how_far_off_a_sample_is() -> None:
    made, off = torch.zeros(2, 4, requires_grad=True), torch.tensor([[1.0] * 4, [100.0] * 4])
    losses.distillation(made, off, torch.ones(2, 1), normalise=True).backward()
    assert made.grad is not None
    torch.testing.assert_close(made.grad[0], made.grad[1])


def test_no_gradient_reaches_the_teacher() -> None:
    made, target = latents(0).requires_grad_(), latents(1).requires_grad_()
    losses.distillation(made, target, torch.ones(3, 1, 1, 1), normalise=False).backward()
    assert target.grad is None


def test_what_lasts_and_what_changes_are_the_whole() -> None:
    error = torch.randn(2, 5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    lasting, changing = losses.part(error, "mean"), losses.part(error, "change")
    torch.testing.assert_close(lasting + changing, losses.part(error, "all"))
    torch.testing.assert_close(changing.mean(1), torch.zeros(2, 3, 2, 2))
    assert torch.equal(lasting[:, 0], lasting[:, 4])


def test_matching_points_from_the_fake_to_the_teacher() -> None:
    made, teacher, fake = latents(0).requires_grad_(), latents(1), latents(2)
    losses.matching(made, teacher, fake).backward()
    scale = (made.detach() - teacher).abs().mean((1, 2, 3), keepdim=True)
    assert made.grad is not None
    torch.testing.assert_close(made.grad * made.numel(), (fake - teacher) / scale)


def test_the_printed_generator_loss_is_deaf_where_the_discriminator_rejects() -> None:
    rejected = torch.full((2, 3), -2.0, requires_grad=True)
    losses.generator(rejected, "paper").backward()
    assert rejected.grad is not None and not rejected.grad.any()
    rejected.grad = None
    losses.generator(rejected, "raw").backward()
    assert (rejected.grad < 0).all()


def test_hinge_is_content_beyond_the_margin() -> None:
    assert losses.hinge(torch.tensor([1.5]), torch.tensor([-1.5])) == 0
    assert losses.hinge(torch.tensor([0.0]), torch.tensor([0.0])) == 2


def test_the_penalty_is_the_squared_gradient() -> None:
    features = [torch.ones(2, 3, 4, requires_grad=True)]
    value = losses.penalty((features[0] * 3).sum((1, 2)), features)
    torch.testing.assert_close(value, torch.tensor(9.0 * 12))


def test_energy_asks_for_contrast_wherever_it_is() -> None:
    made = torch.randn(2, 3, 4, 8, 8, requires_grad=True)
    elsewhere = made.detach().roll(3, -1).flip(1)
    assert losses.energy(made, elsewhere).item() == pytest.approx(0, abs=1e-9)
    loss = losses.energy(made, 2 * elsewhere)
    assert loss.item() == pytest.approx(0.5 * math.log(2) ** 2 * 3 * 64, rel=1e-4)
    (gradient,) = torch.autograd.grad(loss, made)
    assert losses.energy(made.detach() - 0.1 * gradient, 2 * elsewhere) < loss
