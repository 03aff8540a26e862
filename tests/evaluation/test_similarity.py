import math

import pytest
import torch

from eve_cli.evaluation.metrics.similarity import all_pairs, consecutive, direction, with_first


def turned(frames: int, degrees: float) -> torch.Tensor:
    """Unit vectors that turn evenly by so many degrees over all frames."""
    angles = torch.linspace(0, math.radians(degrees), frames, dtype=torch.float64)
    return torch.stack([angles.cos(), angles.sin()], 1)


def double_loop(features: torch.Tensor) -> float:
    rows = [row / row.norm() for row in features.double()]
    pairs = [float(a @ b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]
    return math.fsum(pairs) / len(pairs)


E1, E2 = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
THIRDS = torch.stack([torch.tensor([math.cos(a), math.sin(a)]) for a in (0, 2 * math.pi / 3, 4 * math.pi / 3)])


@pytest.mark.parametrize(
    ("features", "wanted"),
    [(torch.stack([E1, E1]), 1.0), (torch.stack([E1, E2]), 0.0), (THIRDS, -0.5), (turned(32, 60), 0.90341)],
)
def test_all_pairs_of_known_vectors(features: torch.Tensor, wanted: float) -> None:
    assert all_pairs(features) == pytest.approx(wanted, abs=1e-5)
    assert all_pairs(features) == pytest.approx(double_loop(features), abs=1e-12)


def test_recipes_differ_on_a_drift() -> None:
    drift = turned(32, 60)
    assert consecutive(drift) == pytest.approx(0.99943, abs=1e-5)
    assert with_first(drift) == pytest.approx(0.90914, abs=1e-5)


def test_order_and_length_matter_where_they_should() -> None:
    drift = turned(9, 60)
    mixed, longer = drift[[4, 0, 8, 2, 6, 1, 7, 3, 5]], drift * torch.arange(1, 10).unsqueeze(1)
    assert all_pairs(mixed) == pytest.approx(all_pairs(drift), abs=1e-12)
    assert consecutive(mixed) < consecutive(drift) - 0.01
    for formula in (all_pairs, consecutive, with_first):
        assert formula(longer) == pytest.approx(formula(drift), abs=1e-12)
        assert math.isnan(formula(drift[:1]))


A = torch.eye(4)


@pytest.mark.parametrize(
    ("captions", "wanted"),
    [((A[1], A[0]), 1.0), ((A[0], A[1]), -1.0), ((A[3], A[2]), 0.0), ((A[1], A[2]), 0.5)],
    ids=["perfect", "opposite", "orthogonal", "half"],
)
def test_direction_of_a_change_from_e0_to_e1(captions: tuple[torch.Tensor, torch.Tensor], wanted: float) -> None:
    value, differs = direction(A[1], A[0], *captions)
    assert differs and value == pytest.approx(wanted, abs=1e-12)


def test_direction_of_nothing_is_zero_and_says_so() -> None:
    nearly = A[0] + 1e-5 * A[1]
    assert direction(nearly, A[0], A[1], A[2]) == (0.0, False)
    assert direction(A[1], A[0], A[2], A[2]) == (0.0, False)


def test_direction_does_not_depend_on_length() -> None:
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(4, 8, generator=g, dtype=torch.float64)
    lengths = torch.tensor([1.0, 20.0, 0.3, 5.0], dtype=torch.float64).unsqueeze(1)
    assert direction(*rows)[0] == pytest.approx(direction(*(rows * lengths))[0], abs=1e-12)
