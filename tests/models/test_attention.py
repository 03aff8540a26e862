"""Attention that is told how, and networks that are what they were afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from eve_cli.models import attention
from eve_cli.models.editor import Editor
from tests.tiny import randomized, tiny_parts

T = torch.tensor([400])


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor(randomized(tiny_parts()))


@pytest.fixture(params=["backbone", "video", "student"])
def tree(request: pytest.FixtureRequest, editor: Editor) -> Iterator[nn.Module]:
    """Each tree of an editor, which must be the same to the bit after a test as before."""
    tree = getattr(editor, request.param)
    before, found = run(tree), state(tree)
    yield tree
    assert state(tree) == found and torch.equal(run(tree), before)


@torch.no_grad()
def run(tree: nn.Module, rows: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noisy, text = (torch.randn(shape, generator=generator) for shape in ((rows, 4, 4, 4), (rows, 32, 16)))
    if any("motion_modules" in name for name, _ in tree.named_modules()):
        return tree(noisy.transpose(0, 1)[None], T, encoder_hidden_states=text).sample[0].transpose(0, 1)
    return tree(noisy, T, encoder_hidden_states=text).sample


def state(tree: nn.Module) -> list[tuple[str, object, int]]:
    return [
        (name, module.processor if isinstance(module, Attention) else None, len(module._forward_hooks))
        for name, module in tree.named_modules()
    ]


def shut(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return torch.zeros_like(query)


def test_plain_attention_is_the_network_s_own_to_the_bit(tree: nn.Module) -> None:
    names = attention.named(tree)
    with attention.attending(tree, dict.fromkeys(names, attention.plain)):
        told = run(tree)
    assert names and torch.equal(told, run(tree))


@pytest.mark.parametrize("pattern", [attention.SELF, attention.CROSS, attention.TEMPORAL])
def test_each_kind_of_layer_counts(pattern: str, editor: Editor) -> None:
    assert editor.video is not None
    with attention.attending(editor.video, dict.fromkeys(attention.named(editor.video, pattern), shut)):
        told = run(editor.video)
    assert not torch.allclose(told, run(editor.video))


def test_layers_come_in_the_order_in_which_they_run(tree: nn.Module) -> None:
    ran: list[str] = []

    def note(name: str) -> attention.Attend:
        return lambda *qkv: ran.append(name) or attention.plain(*qkv)

    names = attention.named(tree, attention.SELF)
    with attention.attending(tree, {name: note(name) for name in names}):
        run(tree)
    assert ran == names and not names[-1].startswith("mid_block")


def test_nested_and_broken_off_it_is_put_back(tree: nn.Module) -> None:
    first, *others = attention.named(tree, attention.SELF)
    with attention.attending(tree, {first: shut}):
        outer = run(tree)
        with pytest.raises(RuntimeError), attention.attending(tree, dict.fromkeys([first, *others], attention.plain)):
            raise RuntimeError
        assert torch.equal(run(tree), outer)
        with (
            pytest.raises(ValueError, match="no attention layer"),
            attention.attending(tree, {first: shut, "no": shut}),
        ):
            pass
        with pytest.raises(ZeroDivisionError), attention.changing(tree, {first: lambda out: out / (1 // 0)}):
            run(tree)
        assert torch.equal(run(tree), outer)


def test_processors_that_are_modules_come_back_as_modules(editor: Editor) -> None:
    class Own(nn.Module):
        def forward(self, attn: Attention, hidden_states: Tensor, *_: object, **__: object) -> Tensor:
            return hidden_states

    name = attention.named(editor.backbone, attention.SELF)[0]
    layer, own = editor.backbone.get_submodule(name), Own()
    kept = layer.processor
    attention._put(layer, own)  # type: ignore[arg-type]
    with attention.attending(editor.backbone, {name: shut}):
        assert "processor" not in layer._modules
    assert layer._modules["processor"] is own and layer.processor is own
    attention._put(layer, kept)  # type: ignore[arg-type]


def test_what_is_recorded_can_be_put_in_elsewhere(tree: nn.Module) -> None:
    name = attention.named(tree, attention.SELF)[-1]
    with attention.recording(tree, [name, "conv_out"]) as seen:
        told = run(tree)
    assert [len(each) for each in seen.values()] == [1, 1]
    assert torch.equal(seen["conv_out"][0].view(-1), told.view(-1))
    with attention.attending(tree, {name: shut}):
        assert not torch.equal(run(tree), told)
        with attention.changing(tree, {name: lambda out: seen[name][0]}):
            assert torch.equal(run(tree), told)


def test_changes_of_one_module_act_one_behind_the_other(tree: nn.Module) -> None:
    plain = run(tree)
    with (
        attention.changing(tree, {"conv_out": lambda out: out + 1}),
        attention.changing(tree, {"conv_out": lambda out: out * 2}),
    ):
        assert torch.allclose(run(tree), (plain + 1) * 2)


def test_maps_of_attention_are_what_the_layer_uses(tree: nn.Module) -> None:
    name = attention.named(tree, attention.CROSS)[0]
    with attention.attending(tree, {name: lambda q, k, v: attention.plain(q, k.flip(-2), v)}):
        told = run(tree)
        with attention.recording_attention(tree, [name]) as seen:
            assert torch.equal(run(tree), told)
    query, key, value = seen[name][0]
    map = attention.weights(query, key)
    assert map.shape[-1] == 32 and torch.allclose(map.sum(-1), torch.ones(()))
    torch.testing.assert_close(map @ value, attention.plain(query, key, value))


@pytest.mark.parametrize("changed", ["attention", "features"])
def test_a_quickened_editor_does_as_its_networks_are_told(editor: Editor, changed: str) -> None:
    quick, noisy, text = (
        Editor(editor.parts).optimize_for_inference(),
        torch.randn(1, 2, 4, 4, 4),
        torch.randn(1, 32, 16),
    )
    found = []
    for each in (editor, quick):
        assert each.video is not None
        names = attention.named(each.video, attention.SELF)
        way = attention.attending if changed == "attention" else attention.changing
        with torch.no_grad():
            as_ever = each.clean_video(noisy, T, text, None)
            with way(each.video, dict.fromkeys(names, shut if changed == "attention" else torch.zeros_like)):  # type: ignore[arg-type]
                found.append(each.clean_video(noisy, T, text, None))
            assert not torch.allclose(found[-1], as_ever, atol=1e-3)
            assert torch.equal(each.clean_video(noisy, T, text, None), as_ever)
    torch.testing.assert_close(*found)
