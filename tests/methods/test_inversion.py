"""Methods that go back to noise first: they return the source where nothing else is asked for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from eve_cli.editing.request import EditRequest
from eve_cli.errors import UsageError
from eve_cli.methods.base import Guidance
from eve_cli.methods.feature_injection import of_source, residual
from eve_cli.methods.inversion import Inversion
from eve_cli.methods.options import InversionOptions, PnPOptions
from eve_cli.methods.pnp import PnP
from eve_cli.models import attention
from eve_cli.models.editor import Editor
from tests.tiny import randomized, tiny_clip, tiny_parts

CAR = "a red car"


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor(randomized(tiny_parts()))


def asked(options: InversionOptions, caption: str = CAR, scale: float = 1.0) -> Guidance:
    return Guidance("", caption, None, steps=8, guidance_scale=scale, image_guidance_scale=1.0, seed=1, options=options)


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().mean().sqrt())


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize("method", [Inversion(), PnP()])
def test_the_source_s_own_caption_returns_the_source(method: Inversion | PnP, frames: int, editor: Editor) -> None:
    source = tiny_clip(frames)
    kind = PnPOptions if isinstance(method, PnP) else InversionOptions
    same, rough = (method.edit(editor, source, asked(kind(CAR, corrections=corrections))) for corrections in (20, 0))
    assert distance(same, source.source) < 0.02 < distance(rough, source.source)
    other = method.edit(editor, source, asked(kind(CAR, corrections=20), "the night", 4.0))
    assert distance(other, source.source) > 0.05


@torch.no_grad()
def test_what_is_shared_makes_a_difference_and_for_as_long_as_it_is_said(editor: Editor) -> None:
    def made(attended: float, features: float) -> Tensor:
        options = PnPOptions(CAR, share_attention=attended, share_features=features)
        return PnP().edit(editor, tiny_clip(), asked(options, "the night", 4.0))

    variants = [made(0, 0), made(0.5, 0), made(0, 0.8), made(0.5, 0.8), made(1, 1)]
    for number, one in enumerate(variants):
        assert all(distance(one, other) > 1e-4 for other in variants[:number])


def test_features_are_those_of_the_residual_block_in_front_of_the_layers(editor: Editor) -> None:
    layers = attention.named(editor.backbone, attention.SELF)
    first = [name for name in layers if name.startswith("up_blocks")][1]
    assert first.startswith("up_blocks.0.attentions.1.") and residual(first) == "up_blocks.0.resnets.1"
    rows = torch.arange(6.0).view(6, 1)
    assert of_source(2)(rows).flatten().tolist() == [0, 1, 0, 1, 0, 1]


def test_captions_are_told_where_they_can_be_and_one_step_is_refused() -> None:
    def request(**values: object) -> EditRequest:
        given = {"input": "a.mp4", "instruction": "make the car blue", "method": "pnp"} | values
        return EditRequest.of(given, "test")

    def captions(**values: object) -> tuple[str, str]:
        found = request(**values)
        assert isinstance(found.options, InversionOptions)
        return found.options.captions(found.instruction, found.caption)

    assert captions() == ("", "make the car blue")
    assert captions(source_caption="a red car in a city") == ("a red car in a city", "a blue car in a city")
    assert captions(source_caption="a dog") == ("a dog", "make the car blue")
    assert captions(caption="a cat") == ("", "a cat")
    with pytest.raises(UsageError, match=r"^--method pnp inverts the source step by step; give --steps 2 or more\.$"):
        request(steps=1)
