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
    after = drawn.after
    assert after.flow is not None and after.visible is not None
    true_warp = truth.warp_error(drawn.edited, after.flow, after.visible)
    return {
        "edit_acc": float(truth.edit_acc(drawn.source, drawn.edited, output)),
        "bg_psnr": float(truth.bg_psnr(drawn.source, drawn.edited, output)),
        "psnr": float(truth.psnr(output, drawn.edited)),
        "warp_excess": float(truth.warp_error(output, after.flow, after.visible) - true_warp),
    }


def succeeds(row: dict[str, float]) -> bool:
    best = truth.SUCCESS
    return (
        row["edit_acc"] > best["edit_acc"]
        and row["bg_psnr"] > best["bg_psnr"]
        and row["warp_excess"] < best["warp_excess"]
    )


def test_the_true_edit_is_perfect(drawn: RenderedEdit) -> None:
    row = columns(drawn, drawn.edited)
    assert row == {"edit_acc": 1.0, "bg_psnr": 100.0, "psnr": 100.0, "warp_excess": 0.0}
    assert succeeds(row)


def test_the_source_copied_is_no_edit(drawn: RenderedEdit) -> None:
    row = columns(drawn, drawn.source)
    assert row["edit_acc"] == pytest.approx(0, abs=1e-5)
    assert row["bg_psnr"] > 40 and not succeeds(row)


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


def test_a_half_edit_has_three_quarters_of_the_accuracy(drawn: RenderedEdit) -> None:
    assert columns(drawn, _half(drawn))["edit_acc"] == pytest.approx(0.75, abs=1e-4)


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "half the edit"])
def test_a_fault_is_no_success(fault: str, drawn: RenderedEdit) -> None:
    assert not succeeds(columns(drawn, FAULTS[fault][0](drawn)))


def test_each_clip_of_a_batch_has_its_own_value(drawn: RenderedEdit) -> None:
    source, edited = drawn.source.repeat(2, 1, 1, 1, 1), drawn.edited.repeat(2, 1, 1, 1, 1)
    output = torch.cat([drawn.edited, drawn.source])
    assert truth.edit_acc(source, edited, output).tolist() == pytest.approx([1, 0], abs=1e-5)
    assert truth.bg_psnr(source, edited, output).shape == (2,)


def test_nothing_to_measure_is_not_a_number() -> None:
    picture = torch.full((1, 2, 3, 16, 16), 0.5)
    assert truth.edit_acc(picture, picture, picture).isnan().all()
    assert truth.bg_psnr(picture, 1 - picture * 0, picture).isnan().all()  # all of it should change


def test_confidence_holds_the_mean_and_leaves_out_what_is_not_a_number() -> None:
    values = torch.cat([torch.randn(200, generator=torch.Generator().manual_seed(3)) + 2, torch.tensor([torch.nan])])
    mean, low, high = truth.confidence(values)
    assert low < mean < high and low < 2 < high and high - low < 0.4
    assert (mean, low, high) == truth.confidence(values)
    assert all(v != v for v in truth.confidence(torch.tensor([torch.nan])))
