"""An editor made quick gives what it gave before, low-rank layers and vae and all."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from eve_cli.models import alignment_lora
from eve_cli.models.editor import Editor
from eve_cli.models.families import mini, sd15
from eve_cli.models.inference import modules
from eve_cli.models.inference.fast import Fast
from eve_cli.models.inference.modules import ONEDNN_ROWS, OneDNNLinear, geglu
from eve_cli.models.parts import Parts
from tests.tiny import WORDS, randomized, tiny_parts


def aligned() -> Parts:
    """With low-rank layers on everything that alignment can have them on."""
    parts = randomized(tiny_parts())
    student = Editor(parts).student
    assert student is not None
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for parameter in alignment_lora.add(student, 2, "all"):
            nn.init.normal_(parameter, std=0.05)
    parts.align = alignment_lora.weights(student)
    return parts


MODELS = {
    "aligned": aligned,
    "deep compression vae": lambda: randomized(mini.build(WORDS, replace(mini.TINY, vae="dc"))),
    "sd15": lambda: sd15.random_parts("tiny", sparse=False),
}


def made(editor: Editor) -> dict[str, Tensor]:
    """Texts, latents, an edit's step and frames."""
    drawn = torch.Generator().manual_seed(0)
    frames = torch.rand(3, 3, 64, 64, generator=drawn)
    latents = editor.encode(frames)
    condition = editor.condition("make it snowy", "a red car")
    source = frames if editor.settings.control_image == "pixels" else latents
    denoise = editor.guided_student(
        condition.text, condition.instruction, source[None], latents[:1], guidance_scale=2.0
    )
    clean = denoise(torch.randn(1, *latents.shape, generator=drawn).to(latents.dtype), torch.tensor([500]))
    return {"text": condition.text, "latents": latents, "clean": clean, "frames": editor.decode(latents)}


@torch.inference_mode()
@pytest.mark.parametrize("name", MODELS)
def test_a_quick_editor_makes_the_same(name: str) -> None:
    """In double precision, as norms of few numbers blow rounding up."""
    parts = MODELS[name]()
    wanted = made(Editor(parts, dtype=torch.float64))
    quick = Editor(parts, dtype=torch.float64).optimize_for_inference()
    found = made(quick)
    assert isinstance(quick.networks, Fast)
    for key, value in wanted.items():
        assert (found[key] - value).abs().max() < 1e-5 * value.abs().max(), key


@pytest.fixture(params=[True, False], ids=["oneDNN", "no oneDNN"])
def onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With PyTorch's private operators, and with the fallback for a PyTorch that has none."""
    if request.param and not modules.has_onednn():
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(modules, "has_onednn", lambda: request.param)


@torch.no_grad()
def test_a_onednn_layer_equals_the_plain_one_and_keeps_gradients(onednn: None) -> None:
    plain = nn.Linear(12, 5)
    layer = OneDNNLinear(plain)
    assert layer.weight is plain.weight and layer.bias is plain.bias
    for rows in (1, ONEDNN_ROWS - 1, ONEDNN_ROWS, 3 * ONEDNN_ROWS):
        for x in (torch.randn(rows, 12), torch.randn(2, rows, 24)[:, :, ::2], torch.randn(12, rows).T):
            torch.testing.assert_close(layer(x), plain(x))
    with torch.enable_grad():
        layer(torch.randn(2 * ONEDNN_ROWS, 12)).sum().backward()
    assert layer.weight.grad is not None


@torch.inference_mode()
@pytest.mark.parametrize("bias", [True, False])
def test_a_geglu_layer_equals_the_plain_one(bias: bool, onednn: None) -> None:
    plain = nn.Linear(12, 10, bias=bias)
    for x in (torch.randn(ONEDNN_ROWS - 1, 12), torch.randn(2, ONEDNN_ROWS, 12)):
        value, gate = plain(x).chunk(2, -1)
        torch.testing.assert_close(geglu(OneDNNLinear(plain), x), value * functional.gelu(gate))


def test_operators_of_another_form_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*_: object) -> Tensor:
        raise RuntimeError("expected at most 5 arguments")

    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace(_linear_pointwise=other))
    assert not modules.has_onednn.__wrapped__()
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    assert not modules.has_onednn.__wrapped__()


def test_other_trees_over_the_same_weights_stay_as_they_are() -> None:
    parts = aligned()
    one, other = Editor(parts), Editor(parts)
    weights = {name: value.clone() for name, value in parts.backbone.state_dict().items()}
    assert one.student is not None and other.student is not None
    one.optimize_for_inference()
    assert not any("lora" in name for name, _ in one.student.named_modules())
    assert any("lora" in name for name, _ in other.student.named_modules())
    after = parts.backbone.state_dict()
    assert all(torch.equal(after[name], value) for name, value in weights.items())
