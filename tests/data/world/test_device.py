"""Everything that a rendering makes lies on the device that was asked for.

No GPU is needed for that: with `meta` as the default device, a tensor that is made without saying where cannot be mixed
with the others, nor can its values be read.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from eve_cli.data import effects
from eve_cli.data.looks import LOOKS
from eve_cli.data.world import edits, motion, places, render, shapes
from eve_cli.data.world.scene import PLACES, TIMES, WEATHERS, Scene, Thing

THINGS = (Thing("car", "red", "striped", motion="left"), Thing("house", "blue", x=0.5, motion="grow", depth=0.5))
SCENES = [Scene(p, t, w, THINGS, seed=7) for p, t in zip(PLACES, TIMES * 2, strict=True) for w in WEATHERS]


@pytest.fixture
def trap() -> Iterator[None]:
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


def same(one: Tensor | None, other: Tensor | None) -> bool:
    assert one is not None and other is not None and one.device == other.device == torch.device("cpu")
    return bool((one == other).all())


def test_the_trap_is_one(trap: None) -> None:
    with pytest.raises(NotImplementedError):
        torch.tensor([1.0]).add(1).tolist()


def test_a_rendering_lies_where_it_was_asked_for(request: pytest.FixtureRequest) -> None:
    plain = render.render(SCENES, 3, 24, truth=True, device="cpu")
    request.getfixturevalue("trap")
    trapped = render.render(SCENES, 3, 24, truth=True, device="cpu")
    assert all(same(value, getattr(trapped, name)) for name, value in vars(plain).items())


@pytest.mark.parametrize("task", edits.SAMPLERS)
def test_a_true_edit_lies_where_it_was_asked_for(task: str, request: pytest.FixtureRequest) -> None:
    sampled = [edits.sample_edit(seed, task) for seed in range(2)]
    plain = edits.render_edit(sampled, 2, 24, device="cpu")
    request.getfixturevalue("trap")
    trapped = edits.render_edit(sampled, 2, 24, device="cpu")
    assert same(plain.source, trapped.source) and same(plain.edited, trapped.edited)
    assert same(plain.changed, trapped.changed)


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_stays_on_the_device_of_its_frames(name: str, request: pytest.FixtureRequest) -> None:
    frames = render.render(SCENES[:1], 2, 24).frames[0]
    plain = LOOKS[name].function(frames, 3, 1)
    request.getfixturevalue("trap")
    assert same(LOOKS[name].function(frames, 3, 1), plain)


def test_nothing_is_made_at_import_that_would_stay_behind() -> None:
    for module in (effects, edits, motion, places, render, shapes):
        assert not [name for name, value in vars(module).items() if isinstance(value, Tensor)]
