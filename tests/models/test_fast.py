"""The engine gives the numbers of the plain networks, whatever it saves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from eve_cli.models.editor import Editor
from eve_cli.models.families import sd15
from eve_cli.models.inference.fast import Fast
from eve_cli.models.inference.sampling import Sampling
from tests.tiny import randomized, tiny_parts

B, F = 2, 3
T = torch.tensor([999, 400])
MODELS = {
    "mini": lambda: randomized(tiny_parts(own_instruction_encoder=True)),
    "sd15": lambda: sd15.random_parts("tiny", sparse=False),
    "sd15 with SparseCtrl": lambda: sd15.random_parts("tiny"),
}
SCALES = [(1.0, 1.0), (3.0, 1.0), (2.0, 2.0), (4.0, 1.5)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module", params=MODELS)
def editor(request: pytest.FixtureRequest) -> Editor:
    return Editor(MODELS[request.param](), dtype=torch.float64)


@pytest.fixture(scope="module")
def given(editor: Editor) -> dict[str, Tensor]:
    channels = editor.backbone.config["in_channels"]
    pixels = editor.settings.control_image == "pixels"
    side = 8 if pixels else 4
    with torch.inference_mode():
        return {
            "noisy": normal(B, F, channels, side, side),
            "source": normal(B, F, 3, 8 * side, 8 * side, seed=1).sigmoid()
            if pixels
            else normal(B, F, channels, side, side, seed=1),
            "first": normal(B, channels, side, side, seed=2),
            "text": editor.embed(["a red car", "make it snowy"]),
            "instruction": editor.embed_instruction(["add a car", "make it night"]),
            "task": torch.tensor([0, 6]),
        }


def close(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).abs().max() < 1e-8 * wanted.abs().max())


def ways(
    editor: Editor, given: dict[str, Tensor], guidance_scale: float, image_guidance_scale: float
) -> dict[str, Tensor]:
    """What every guided function makes; in double precision, as norms of few numbers blow rounding up."""
    x = given
    scales = {"guidance_scale": guidance_scale, "image_guidance_scale": image_guidance_scale}
    texts, frames = (x["text"], x["instruction"]), (x["source"][:, 0], x["task"])
    return {
        "image": editor.guided_image(x["text"], guidance_scale)(x["noisy"][:, 0], T),
        "edit": editor.guided_edit(*texts, *frames, **scales)(x["noisy"][:, 0], T),
        "video": editor.guided_video(x["text"], x["first"], guidance_scale=guidance_scale)(x["noisy"], T),
        "student": editor.guided_student(*texts, x["source"], x["first"], x["task"], **scales)(x["noisy"], T),
        "without first": editor.guided_student(*texts, x["source"], None, **scales)(x["noisy"], T),
    }


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize(
    ("guidance_scale", "image_guidance_scale", "rows", "together"),
    [(*scales, None, True) for scales in SCALES] + [(4.0, 1.5, 4, True), (4.0, 1.5, 2, False)],
)
def test_the_engine_gives_the_plain_networks_numbers(
    editor: Editor,
    given: dict[str, Tensor],
    guidance_scale: float,
    image_guidance_scale: float,
    rows: int | None,
    together: bool,
) -> None:
    wanted = ways(editor, given, guidance_scale, image_guidance_scale)
    plain, editor.networks, editor.in_one_batch = editor.networks, Fast(rows), together
    try:
        found = ways(editor, given, guidance_scale, image_guidance_scale)
    finally:
        editor.networks, editor.in_one_batch = plain, True
    assert [name for name in wanted if not close(found[name], wanted[name])] == []


@torch.inference_mode()
@pytest.mark.parametrize("together", [True, False])
def test_layers_that_are_reused_when_guidance_ends_are_the_full_branchs(
    editor: Editor, given: dict[str, Tensor], together: bool
) -> None:
    """The same latents at every step, so that what is reused is exact."""
    told = (given["text"], given["instruction"], given["source"], given["first"])
    wanted = editor.guided_student(*told, guidance_scale=1.0, image_guidance_scale=1.0)(given["noisy"], T)
    plain, editor.networks, editor.in_one_batch = editor.networks, Fast(), together
    try:
        denoise = editor.guided_student(
            *told, guidance_scale=4.0, image_guidance_scale=1.5, run=Sampling(cache_interval=2, guided_steps=1)
        )
        denoise(given["noisy"], T)
        found = denoise(given["noisy"], T)
    finally:
        editor.networks, editor.in_one_batch = plain, True
    assert close(found, wanted)
