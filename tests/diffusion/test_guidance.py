"""Guidance: scale one is no guidance, and the weights say the same as the formula."""

import pytest
import torch

from eve_cli.diffusion import guidance


def branches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 3, 4, generator=generator) for _ in range(3)]


def test_scale_one_is_the_full_branch_and_zero_is_the_empty_one() -> None:
    none, source, full = branches()
    assert guidance.two_scale_weights(1, 1) == (0, 0, 1)
    assert torch.equal(guidance.two_scale(none, source, full, 1, 1), full)
    assert torch.equal(guidance.two_scale(none, source, full, 0, 0), none)
    assert torch.equal(guidance.one_scale(none, full, 1), full)


def test_two_scales_follow_the_formula() -> None:
    none, source, full = branches()
    expected = none + 1.5 * (source - none) + 6.0 * (full - source)
    assert torch.allclose(guidance.two_scale(none, source, full, 6.0, 1.5), expected, atol=1e-5)
    assert sum(guidance.two_scale_weights(6.0, 1.5)) == 1
    assert torch.allclose(
        guidance.two_scale(none, none, full, 3.0, 7.0), guidance.one_scale(none, full, 3.0), atol=1e-5
    )


def test_equal_branches_are_left_as_they_are() -> None:
    _, _, full = branches()
    assert torch.allclose(guidance.two_scale(full, full, full, 7.5, 2.0), full, atol=1e-5)


def test_rescaling_gives_the_spread_of_the_reference() -> None:
    none, _, full = branches()
    rescaled = guidance.rescale(5 * full, none, 1.0)
    assert torch.allclose(rescaled.std((1, 2)), none.std((1, 2)), atol=1e-5)
    assert torch.equal(guidance.rescale(full, none, 0.0), full)


def test_weights_and_branches_must_match() -> None:
    with pytest.raises(ValueError, match="one for each"):
        guidance.combine([1.0], branches())
