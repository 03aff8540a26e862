import torch

from eve_cli.data.world.render import render
from eve_cli.data.world.scene import Scene, Thing
from eve_cli.perception import flow


def test_a_shift_is_found_to_a_part_of_a_pixel() -> None:
    g = torch.Generator().manual_seed(0)
    wide = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 140, 140, generator=g), 5, 1)
    now, then = wide[..., 10:110, 10:110], wide[..., 6:106, 17:117]  # what was at x is at x - 7 then, and 4 lower
    found, visible = flow.between(now, then)
    inner = found[0, :, 15:85, 15:85]
    wanted = torch.tensor([-7.0, 4.0]).view(2, 1, 1)
    assert (inner - wanted).square().sum(0).sqrt().mean() < 0.1
    assert visible[0, 15:85, 15:85].mean() > 0.98 and visible[0, :, :5].mean() < 0.5


def test_the_worlds_true_flow_is_found() -> None:
    things = (Thing("car", "red", "striped", motion="right", speed=0.05), Thing("tree", "blue", slot="left", x=-0.55))
    scenes = [Scene("city", "day", "clear", things, camera, 5) for camera in ("still", "pan left", "zoom in")]
    drawn = render(scenes, 4, 128, truth=True)
    assert drawn.flow is not None and drawn.visible is not None
    now, then = drawn.frames[:, :-1].flatten(0, 1), drawn.frames[:, 1:].flatten(0, 1)
    found, visible = flow.between(now, then)
    true, seen = drawn.flow.flatten(0, 1), drawn.visible.flatten(0, 1) > 0.5
    rough = (torch.nn.functional.avg_pool2d(now, 7, 1, 3) - now).abs().amax(1) > 0.05  # a flat place has no flow to see
    moving = seen & rough & (true.norm(dim=1) > 0.5)
    error, zero = (found - true).norm(dim=1)[moving].mean(), true.norm(dim=1)[moving].mean()
    along = [(flow.warp(then, each) - now).square().mean(1)[seen].mean() for each in (found, true)]
    print(f"end-point error {error:.2f} of {zero:.2f} pixels; warp error {along[0]:.2e}, true {along[1]:.2e}")
    assert error < 0.35 * zero and along[0] < 1.5 * along[1]
    assert (visible > 0.5)[seen].float().mean() > 0.75  # flat places need not agree


def test_still_pictures_have_none() -> None:
    frame = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(1))
    found, visible = flow.between(frame, frame)
    assert found.abs().max() < 0.05 and visible.min() == 1


def test_the_median_is_that_of_nine() -> None:
    found = torch.randn(2, 2, 6, 9, generator=torch.Generator().manual_seed(2))
    padded = torch.nn.functional.pad(found, (1, 1, 1, 1), mode="replicate")
    nine = padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2)
    assert torch.equal(flow.median(found), nine.median(-1).values)
