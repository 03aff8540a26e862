"""Measures against the true edit: perfect is one, doing nothing is zero, and every fault shows in a column."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from eve_cli.data.world.edits import RenderedEdit, render_edit
from eve_cli.data.world.edits import WorldEdit as Edit
from eve_cli.data.world.scene import Scene, Thing
from eve_cli.evaluation import truth

BALL = Thing("ball", "yellow", motion="right", speed=0.05, x=-0.4, y=0.3, size=0.45)
TREE = Thing("tree", "green", x=0.55, y=0.3, size=0.4, slot="right", depth=0.5)


def recolour(to: str) -> Edit:
    source = Scene("meadow", "day", "clear", (BALL, TREE), seed=5)
    return Edit("local", f"make the ball {to}", source, source.with_thing(0, colour=to), "", "", 0)


@pytest.fixture(scope="module")
def drawn() -> RenderedEdit:
    return render_edit([recolour("red")], 8, 64, truth=True)


def columns(drawn: RenderedEdit, output: Tensor) -> dict[str, float]:
    flow, visible = motion(drawn)
    return {
        "edit_acc": float(truth.edit_acc(drawn.source, drawn.edited, output)),
        "bg_psnr": float(truth.bg_psnr(drawn.source, drawn.edited, output)),
        "psnr": float(truth.psnr(output, drawn.edited)),
        "warp_excess": float(truth.warp_excess(drawn.edited, output, flow, visible)),
    }


def motion(drawn: RenderedEdit) -> tuple[Tensor, Tensor]:
    assert drawn.after.flow is not None and drawn.after.visible is not None
    return drawn.after.flow, drawn.after.visible


def succeeds(drawn: RenderedEdit, output: Tensor) -> bool:
    return bool(truth.success(drawn.source, drawn.edited, output, *motion(drawn)))


def test_the_true_edit_is_perfect(drawn: RenderedEdit) -> None:
    row = columns(drawn, drawn.edited)
    assert row == {"edit_acc": 1.0, "bg_psnr": 100.0, "psnr": 100.0, "warp_excess": 0.0}
    assert succeeds(drawn, drawn.edited)


def test_the_source_copied_is_no_edit(drawn: RenderedEdit) -> None:
    row = columns(drawn, drawn.source)
    assert row["edit_acc"] == pytest.approx(0, abs=1e-5)
    assert row["bg_psnr"] > 40 and not succeeds(drawn, drawn.source)


def _half(d: RenderedEdit) -> Tensor:
    return torch.lerp(d.source, d.edited, 0.5)


def _wrong_colour(d: RenderedEdit) -> Tensor:
    return render_edit([recolour("blue")], 8, 64).edited


def _repainted(d: RenderedEdit) -> Tensor:
    keep = d.changed.unsqueeze(2)
    return d.edited * keep + (1 - keep) * (d.edited * 0.8 + torch.tensor([0.1, 0.05, 0.2]).view(3, 1, 1) * 0.5)


def _flicker(d: RenderedEdit) -> Tensor:
    light = torch.tensor([0.0, 0.08, -0.06, 0.05, -0.08, 0.07, 0.0, -0.07]).view(1, 8, 1, 1, 1)
    return (d.edited + light).clamp(0, 1)


def _grain(d: RenderedEdit) -> Tensor:
    noise = torch.randn(d.edited.shape, generator=torch.Generator().manual_seed(1))
    return (d.edited + 0.05 * noise).clamp(0, 1)


def _frozen(d: RenderedEdit) -> Tensor:
    return d.edited[:, :1].expand_as(d.edited)


def _blurred(d: RenderedEdit) -> Tensor:
    small = F.avg_pool2d(d.edited[0], 4)
    return F.interpolate(small, (64, 64), mode="bilinear").unsqueeze(0)


def _first_half(d: RenderedEdit) -> Tensor:
    return torch.cat([d.edited[:, :4], d.source[:, 4:]], 1)


def _moved(d: RenderedEdit) -> Tensor:
    return d.edited.roll(4, -1)


def _reversed(d: RenderedEdit) -> Tensor:
    return d.edited.flip(1)


FAULTS: dict[str, tuple[Callable[[RenderedEdit], Tensor], str, float]] = {
    "half the edit": (_half, "edit_acc", 0.8),
    "the wrong colour": (_wrong_colour, "edit_acc", 0.5),
    "a repainted background": (_repainted, "bg_psnr", 30),
    "flicker": (_flicker, "warp_excess", 1e-3),
    "grain of its own in each frame": (_grain, "warp_excess", 1e-3),
    "the first frame frozen": (_frozen, "warp_excess", 1e-3),
    "blur": (_blurred, "bg_psnr", 30),
    "half of the frames": (_first_half, "edit_acc", 0.8),
    "shifted": (_moved, "bg_psnr", 30),
    "run backwards": (_reversed, "bg_psnr", 30),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_shows_in_its_column(fault: str, drawn: RenderedEdit) -> None:
    make, column, limit = FAULTS[fault]
    row = columns(drawn, make(drawn))
    assert row[column] > limit if column == "warp_excess" else row[column] < limit, row


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_no_success(fault: str, drawn: RenderedEdit) -> None:
    assert not succeeds(drawn, FAULTS[fault][0](drawn))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, 1.5])
def test_a_share_of_the_edit_is_its_amount(share: float, drawn: RenderedEdit) -> None:
    output = torch.lerp(drawn.source, drawn.edited, share)
    assert float(truth.edit_acc(drawn.source, drawn.edited, output)) == pytest.approx(1 - (1 - share) ** 2, abs=1e-4)
    assert float(truth.edit_amount(drawn.source, drawn.edited, output)) == pytest.approx(share, abs=1e-4)
    direction = float(truth.edit_direction(drawn.source, drawn.edited, output))
    assert direction == pytest.approx(1 if share else 0, abs=1e-4)


def test_direction_is_that_of_the_change() -> None:
    source, edited = torch.zeros(3, 3, 8, 8), torch.zeros(3, 3, 8, 8)
    edited[:, 0], output = 0.5, torch.zeros(3, 3, 8, 8)
    output[0, 0], output[1, 1], output[2, 0] = 0.2, 0.7, -0.3  # less of the same, another channel, the opposite
    assert truth.edit_direction(source, edited, output).tolist() == pytest.approx([1, 0, -1], abs=1e-5)
    assert truth.edit_amount(source, edited, output).tolist() == pytest.approx([0.4, 0, -0.6], abs=1e-5)


def test_the_colour_of_the_change_is_judged_by_its_mean(drawn: RenderedEdit) -> None:
    keep = drawn.changed.unsqueeze(2)
    tint = torch.tensor([0.0, 0.1, -0.2]).view(3, 1, 1)
    noise = 0.1 * torch.randn(drawn.edited.shape, generator=torch.Generator().manual_seed(7))
    measured = [truth.edit_colour(drawn.source, drawn.edited, drawn.edited + v) for v in (tint * keep, tint, noise)]
    assert [float(value) for value in measured] == pytest.approx([51, 51, 0], abs=2)
    assert float(truth.edit_colour(drawn.source, drawn.edited, _wrong_colour(drawn))) > 40


def test_what_is_outside_does_not_see_the_change(drawn: RenderedEdit) -> None:
    noise = torch.rand(drawn.edited.shape, generator=torch.Generator().manual_seed(2))
    output = torch.where(drawn.changed.unsqueeze(2) > 0, noise, drawn.edited)
    given = drawn.source, drawn.edited, output
    assert float(truth.bg_ssim(*given)) == pytest.approx(1, abs=1e-5)
    assert float(truth.bg_psnr(*given)) == 100 and float(truth.colour_bias(*given)) == 0
    assert float(truth.ssim(output, drawn.edited)) < 0.95


def test_a_wider_margin_leaves_out_more(drawn: RenderedEdit) -> None:
    halo = F.max_pool2d(drawn.changed[0].unsqueeze(1), 11, 1, 5).view(1, 8, 1, 64, 64)  # spoilt five pixels around
    output = drawn.edited * (1 - 0.5 * halo)
    given = drawn.source, drawn.edited, output
    assert float(truth.bg_psnr(*given)) < 40 < float(truth.bg_psnr(*given, margin=5)) == 100


def test_similarity_of_flat_pictures_is_that_of_their_light() -> None:
    one, other = torch.full((2, 3, 16, 16), 0.6), torch.full((2, 3, 16, 16), 0.6)
    other[1] = 0.4
    light = (2 * 0.6 * 0.4 + 1e-4) / (0.6**2 + 0.4**2 + 1e-4)
    assert truth.ssim(one, other).tolist() == pytest.approx([1, light], abs=1e-4)


def test_similarity_falls_with_noise_and_blur(drawn: RenderedEdit) -> None:
    grained = [drawn.edited + size * torch.randn(drawn.edited.shape) for size in (0.02, 0.1)]
    values = [float(truth.ssim(output, drawn.edited)) for output in (drawn.edited, *grained)]
    assert values[0] == pytest.approx(1, abs=1e-5) and values[0] > values[1] > values[2]
    assert float(truth.ssim(_blurred(drawn), drawn.edited)) < 0.85


def test_a_tint_is_counted_in_levels(drawn: RenderedEdit) -> None:
    tint = torch.tensor([1.0, -3.0, 0.5]).view(3, 1, 1) / 255
    assert float(truth.colour_bias(drawn.source, drawn.edited, drawn.edited + tint)) == pytest.approx(3, abs=1e-3)
    noise = torch.randn(drawn.edited.shape, generator=torch.Generator().manual_seed(4)) * 0.05
    assert float(truth.colour_bias(drawn.source, drawn.edited, drawn.edited + noise)) < 0.3


def test_flicker_is_what_is_wrong_and_changes(drawn: RenderedEdit) -> None:
    flow, visible = motion(drawn)
    light = torch.tensor([0.0, 0.03, 0.01, 0.02, 0.0, 0.01, 0.04, 0.02]).view(8, 1, 1, 1)
    steady, unsteady = drawn.edited + 0.1, drawn.edited + light
    assert float(truth.flicker(drawn.edited, steady, flow, visible)) == pytest.approx(0, abs=1e-5)
    asked = light.flatten().diff().abs()
    assert asked.min() <= float(truth.flicker(drawn.edited, unsteady, flow, visible)) <= asked.max()
    assert float(truth.warp_excess(drawn.edited, steady, flow, visible)) == pytest.approx(0, abs=1e-5)


def test_motion_and_detail_are_shares_of_the_true_ones(drawn: RenderedEdit) -> None:
    frozen, blurred = _frozen(drawn), _blurred(drawn)
    assert float(truth.motion_ratio(drawn.edited, drawn.edited)) == 1 == float(truth.detail_ratio(frozen, frozen))
    assert float(truth.motion_ratio(drawn.edited, frozen)) == 0 and truth.motion_ratio(frozen, blurred).isnan().all()
    assert float(truth.motion_ratio(drawn.edited, drawn.edited.flip(1))) == pytest.approx(1, abs=1e-4)
    assert float(truth.detail_ratio(drawn.edited, blurred)) < 0.6
    flat = torch.full_like(drawn.edited, 0.5)
    assert float(truth.detail_ratio(drawn.edited, flat)) < 1e-4 and truth.detail_ratio(flat, blurred).isnan().all()


def test_blocks_find_the_motion_of_a_clip() -> None:
    ground = torch.rand(1, 3, 24, 48, generator=torch.Generator().manual_seed(5))
    sliding = torch.stack([ground[..., 4 + 3 * n : 28 + 3 * n] for n in range(4)], 1)
    boiling = torch.rand(1, 4, 3, 24, 24, generator=torch.Generator().manual_seed(6))
    still = sliding[:, :1].expand_as(sliding)
    errors = truth.matched_warp_error(torch.cat([sliding, boiling, still])).tolist()
    assert errors[2] == 0 and errors[0] < 0.3 * errors[1]  # only what comes into view is unknown
    assert float(truth.matched_warp_error(sliding, reach=1)) > 3 * errors[0]  # too quick for so near a search


def test_each_clip_of_a_batch_has_its_own_value(drawn: RenderedEdit) -> None:
    outputs = torch.cat([drawn.edited, _half(drawn), _blurred(drawn)])
    source, edited = drawn.source.expand_as(outputs), drawn.edited.expand_as(outputs)
    flow, visible = (value.repeat(3, *[1] * (value.dim() - 1)) for value in motion(drawn))
    together = truth.measures(source, edited, outputs, flow, visible)
    for row, output in enumerate(outputs.split(1)):
        alone = truth.measures(drawn.source, drawn.edited, output, *motion(drawn))
        for name, value in together.items():
            assert value.shape == (3,) and float(value[row]) == pytest.approx(float(alone[name]), rel=1e-4, abs=1e-5)
    assert truth.success(source, edited, outputs, flow, visible).tolist() == [True, False, False]


def test_nothing_to_measure_is_not_a_number() -> None:
    picture = torch.full((1, 2, 3, 16, 16), 0.5)
    assert truth.edit_acc(picture, picture, picture).isnan().all()
    assert truth.bg_psnr(picture, 1 - picture * 0, picture).isnan().all()  # all of it should change
