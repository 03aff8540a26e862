"""What comes back at full size: the source where nothing changed, its detail where it still holds."""

import torch
from torch import Tensor
from torch.nn import functional

from eve_cli.editing import detail


def scene(height: int = 192, width: int = 256) -> Tensor:
    """A picture with coarse shapes and fine texture, (1, 3, height, width)."""
    generator = torch.Generator().manual_seed(0)
    coarse = functional.interpolate(torch.rand(1, 3, 8, 10, generator=generator), (height, width), mode="bicubic")
    fine = torch.rand(1, 1, height, width, generator=generator) - 0.5
    return (0.15 + 0.7 * coarse + 0.2 * fine).clamp(0, 1)


def small(frames: Tensor) -> Tensor:
    return functional.interpolate(frames, (64, 64), mode="area")


def transfer(source: Tensor, edited: Tensor) -> Tensor:
    return detail.apply(source, detail.plan(small(source), small(edited)))


def decibels(one: Tensor, other: Tensor) -> float:
    return float(-10 * (one.clamp(0, 1) - other).pow(2).mean().log10())


def test_no_change_gives_the_source_exactly() -> None:
    source = scene()
    assert torch.equal(transfer(source, source), source)


def test_detail_goes_through_a_change_of_light() -> None:
    source = scene()
    for edited in (source * 0.35, source * 0.4 + 0.5, source.mean(1, keepdim=True).expand_as(source)):
        plain = functional.interpolate(small(edited), source.shape[-2:], mode="bicubic")
        assert decibels(transfer(source, edited), edited) > decibels(plain, edited) + 8


def test_detail_does_not_shine_through_what_was_added() -> None:
    source = scene()
    edited = source.clone()
    edited[..., 60:140, 80:180] = torch.tensor([0.95, 0.05, 0.05]).view(1, 3, 1, 1)
    result = transfer(source, edited)
    inside = (..., slice(85, 115), slice(110, 150))
    assert result[inside].std(dim=(-2, -1)).max() < 0.3 * source[inside].std(dim=(-2, -1)).max()
    assert torch.equal(result[..., :20, :], source[..., :20, :])


def test_a_frame_does_not_depend_on_those_beside_it() -> None:
    source = torch.cat([scene(), scene().flip(-1)])
    edited = source * torch.tensor([0.5, 0.9]).view(2, 1, 1, 1)
    torch.testing.assert_close(transfer(source, edited)[1:], transfer(source[1:], edited[1:]))


def test_fine_detail_stays_under_a_colour_map_and_goes_in_blocks() -> None:
    left = functional.interpolate(scene(), (128, 128), mode="area")
    toned = left * torch.tensor([0.9, 0.7, 0.4]).view(3, 1, 1) + 0.05
    blocks = functional.interpolate(functional.avg_pool2d(left, 8), scale_factor=8, mode="nearest")
    assert all(kept.mean() > 0.95 for kept in detail.fine_gain(left, toned, toned))
    assert all(kept.mean() < 0.2 for kept in detail.fine_gain(left, blocks, left))
    smooth = left.new_full(left.shape, 0.5)
    assert all(kept.min() == 1 for kept in detail.fine_gain(smooth, smooth * 0.5, smooth * 0.5))


def test_blocks_come_back_as_blocks_and_light_with_the_source_s_detail() -> None:
    source = scene(384, 384)
    before = functional.interpolate(source, (128, 128), mode="area")
    for truth, block in ((lambda frames: frames * 0.5, 0), (lambda frames: frames, 8)):
        after = truth(before)
        wanted = truth(source)
        if block:
            after = functional.interpolate(functional.avg_pool2d(after, block), scale_factor=block, mode="nearest")
            wanted = functional.interpolate(functional.avg_pool2d(wanted, 3 * block), scale_factor=3 * block)
        maps = detail.plan(before, after, torch.stack([before, after]))
        assert decibels(detail.apply(source, maps), wanted) > (26 if block else 33)


def test_a_look_for_most_of_a_picture_is_for_all_of_it_and_a_local_edit_stays_local() -> None:
    share = torch.zeros(2, 1, 16, 16)
    share[0, ..., :13, :], share[1, ..., :6, :6] = 1.0, 1.0
    opened = detail.everywhere(share)
    assert opened[0].min() > 0.9 and torch.equal(opened[1], share[1])


def test_small_symmetric_systems_are_solved_as_by_torch_grey_pictures_included() -> None:
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(2, 3, 9, 5, 6, generator=generator)
    colours[:, :, :, :, 3:] = colours[:, :1, :, :, 3:]  # equal channels: singular but for the ridge
    matrix = torch.einsum("fcnhw,fdnhw->fcdhw", colours, colours) / 9
    right = torch.rand(2, 3, 4, 5, 6, generator=generator)
    last = [each.permute(0, 3, 4, 1, 2).double() for each in (matrix, right)]
    expected = torch.linalg.solve(last[0] + detail.REGULARITY * torch.eye(3), last[1]).permute(0, 3, 4, 1, 2)
    solved = detail.solve_symmetric(matrix, right, detail.REGULARITY)
    torch.testing.assert_close(solved.double(), expected, rtol=2e-3, atol=2e-3 * expected.abs().max().item())
