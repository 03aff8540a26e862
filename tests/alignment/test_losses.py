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
    sample = clean.clone().requires_grad_()
    losses.distillation(sample, target, losses.weight(SCHEDULE, t, sample, "alpha"), normalise=False).backward()
    assert sample.grad is not None
    torch.testing.assert_close(sample.grad * sample.numel(), expected, rtol=1e-3, atol=1e-4)


def test_uniform_and_dreamfusion_weights_are_what_the_paper_of_each_says() -> None:
    t, like = torch.tensor([200, 700]), torch.zeros(2, 1)
    alpha, sigma = SCHEDULE.at(t, like)
    torch.testing.assert_close(losses.weight(SCHEDULE, t, like, "uniform"), alpha / sigma)
    torch.testing.assert_close(losses.weight(SCHEDULE, t, like, "dreamfusion"), alpha / sigma * sigma**2)


def test_normalised_gradients_do_not_depend_on_how_far_off_a_sample_is() -> None:
    sample, off = torch.zeros(2, 4, requires_grad=True), torch.tensor([[1.0] * 4, [100.0] * 4])
    losses.distillation(sample, off, torch.ones(2, 1), normalise=True).backward()
    assert sample.grad is not None
    torch.testing.assert_close(sample.grad[0], sample.grad[1])


def test_no_gradient_reaches_the_teacher() -> None:
    sample, target = latents(0).requires_grad_(), latents(1).requires_grad_()
    losses.distillation(sample, target, torch.ones(3, 1, 1, 1), normalise=False).backward()
    assert target.grad is None


def test_what_lasts_and_what_changes_are_the_whole() -> None:
    error = torch.randn(2, 5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    lasting, changing = losses.component(error, "mean"), losses.component(error, "change")
    torch.testing.assert_close(lasting + changing, losses.component(error, "all"))
    torch.testing.assert_close(changing.mean(1), torch.zeros(2, 3, 2, 2))
    assert torch.equal(lasting[:, 0], lasting[:, 4])


def test_matching_points_from_the_fake_to_the_teacher() -> None:
    sample, teacher, fake = latents(0).requires_grad_(), latents(1), latents(2)
    losses.matching(sample, teacher, fake).backward()
    scale = (sample.detach() - teacher).abs().mean((1, 2, 3), keepdim=True)
    assert sample.grad is not None
    torch.testing.assert_close(sample.grad * sample.numel(), (fake - teacher) / scale)


def test_the_printed_generator_loss_has_no_gradient_where_the_discriminator_rejects() -> None:
    rejected = torch.full((2, 3), -2.0, requires_grad=True)
    losses.generator(rejected, "paper").backward()
    assert rejected.grad is not None and not rejected.grad.any()
    rejected.grad = None
    losses.generator(rejected, "linear").backward()
    assert (rejected.grad < 0).all()


def test_the_hinge_loss_is_zero_beyond_the_margin() -> None:
    assert losses.hinge(torch.tensor([1.5]), torch.tensor([-1.5])) == 0
    assert losses.hinge(torch.tensor([0.0]), torch.tensor([0.0])) == 2


def test_the_penalty_is_the_squared_gradient() -> None:
    features = [torch.ones(2, 3, 4, requires_grad=True)]
    value = losses.r1_penalty((features[0] * 3).sum((1, 2)), features)
    torch.testing.assert_close(value, torch.tensor(9.0 * 12))


def test_the_contrast_loss_does_not_depend_on_where_contrast_is() -> None:
    sample = torch.randn(2, 3, 4, 8, 8, requires_grad=True)
    elsewhere = sample.detach().roll(3, -1).flip(1)
    assert losses.contrast(sample, elsewhere).item() == pytest.approx(0, abs=1e-9)
    loss = losses.contrast(sample, 2 * elsewhere)
    assert loss.item() == pytest.approx(0.5 * math.log(2) ** 2 * 3 * 64, rel=1e-4)
    (gradient,) = torch.autograd.grad(loss, sample)
    assert losses.contrast(sample.detach() - 0.1 * gradient, 2 * elsewhere) < loss
