"""LoRA files as other tools write them: every naming gives the same layers, and what is no LoRA is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from eve_cli.errors import ModelError
from eve_cli.models import lora_files, low_rank
from eve_cli.models.families import sd15

LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
PLAIN = "mid_block.attentions.0.proj_in"
WORDS = "encoder.layers.1.mlp.fc1"


def diffusers(layer: str, role: str) -> str:
    return f"unet.{layer}.lora_{'A' if role == 'down' else 'B'}.weight"


def old_diffusers(layer: str, role: str) -> str:
    head, _, tail = layer.replace(".to_out.0", ".to_out").rpartition(".")
    return f"{head}.processor.{tail}_lora.{role}.weight" if "attn" in layer else f"{layer}.lora.{role}.weight"


def kohya(layer: str, role: str) -> str:
    return f"lora_unet_{layer.replace('.', '_')}.lora_{role}.weight"


def peft(layer: str, role: str) -> str:
    return f"base_model.model.{layer}.lora_{'A' if role == 'down' else 'B'}.default.weight"


@pytest.fixture(scope="module")
def unet():
    return sd15.backbone(sd15.TINY)


def tensors(rank: int = 4) -> dict[str, dict[str, Tensor]]:
    torch.manual_seed(0)
    return {
        LAYER: {"down": torch.randn(rank, 32), "up": torch.randn(32, rank)},
        PLAIN: {"down": torch.randn(2, 64, 1, 1), "up": torch.randn(64, 2, 1, 1)},
    }


@pytest.mark.parametrize("named", [diffusers, old_diffusers, kohya, peft])
def test_every_naming_gives_the_same_layers(named: Callable[[str, str], str], unet, tmp_path: Path) -> None:
    stored = {named(layer, role): value for layer, both in tensors().items() for role, value in both.items()}
    save_file(stored, tmp_path / "x.safetensors")
    found = lora_files.read(tmp_path / "x.safetensors", unet).unet
    expected = {diffusers(layer, role)[5:]: v for layer, both in tensors().items() for role, v in both.items()}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@torch.no_grad()
def test_layers_of_different_rank_act_as_they_should_times_alpha_and_scale(unet) -> None:
    stored = {kohya(layer, role): value for layer, both in tensors().items() for role, value in both.items()}
    stored |= {f"lora_unet_{LAYER.replace('.', '_')}.alpha": torch.tensor(2.0)}
    tree = sd15.backbone(sd15.TINY)
    low_rank.attach(tree, "x", lora_files.convert(stored, Path("x"), tree, scale=0.5).unet)
    for layer, strength in ((LAYER, 0.5 * 2 / 4), (PLAIN, 0.5)):
        both, module = tensors()[layer], tree.get_submodule(layer)
        size = 8 if layer == PLAIN else None
        x = torch.randn(1, 64, size, size) if size else torch.randn(5, 32)
        change = module(x) - module.base_layer(x)  # pyright: ignore
        delta = both["up"].flatten(1) @ both["down"].flatten(1) * strength
        own = torch.einsum("oi,bihw->bohw", delta, x) if size else x @ delta.T
        assert torch.allclose(change, own, atol=1e-4)


def test_text_layers_are_found_by_either_name(unet) -> None:
    text = sd15.text_encoder(sd15.TINY)
    down, up = torch.randn(3, 32), torch.randn(64, 3)
    flat = WORDS.replace(".", "_")
    for name in (f"text_encoder.text_model.{WORDS}.lora_linear_layer.", f"lora_te_text_model_{flat}.lora_"):
        found = lora_files.convert({f"{name}down.weight": down, f"{name}up.weight": up}, Path("x"), unet, text)
        assert list(found.text) == [f"{WORDS}.lora_A.weight", f"{WORDS}.lora_B.weight"] and not found.unet


@torch.no_grad()
def test_two_sets_joined_do_what_both_do() -> None:
    first = {f"{LAYER}.lora_A.weight": torch.randn(4, 32), f"{LAYER}.lora_B.weight": torch.randn(32, 4)}
    second = {f"{LAYER}.lora_A.weight": torch.randn(2, 32), f"{LAYER}.lora_B.weight": torch.randn(32, 2)}
    second |= {f"{PLAIN}.lora_A.weight": torch.randn(2, 64, 1, 1), f"{PLAIN}.lora_B.weight": torch.randn(64, 2, 1, 1)}
    both = low_rank.joined(first, second)
    down, up = both[f"{LAYER}.lora_A.weight"], both[f"{LAYER}.lora_B.weight"]
    apart = sum(x[f"{LAYER}.lora_B.weight"] @ x[f"{LAYER}.lora_A.weight"] for x in (first, second))
    assert torch.allclose(up @ down, torch.as_tensor(apart), atol=1e-5)
    assert torch.equal(both[f"{PLAIN}.lora_A.weight"], second[f"{PLAIN}.lora_A.weight"])


@pytest.mark.parametrize(
    ("name", "stored", "said"),
    [
        ("x.ckpt", {}, "is a pickle file"),
        ("none.safetensors", None, "There is no LoRA at"),
        ("cut.safetensors", b"\x10\x00", "is damaged or no safetensors file"),
        ("x.safetensors", {"lora_unet_nothing.lora_down.weight": torch.zeros(2, 2)}, "made for another model"),
        ("x.safetensors", {f"{LAYER}.hada_w1_a": torch.zeros(2, 2)}, "is a LoHa"),
        ("x.safetensors", {diffusers(LAYER, "down"): torch.zeros(2, 2)}, "half of a LoRA"),
        ("x.safetensors", {}, "x.safetensors has no weights in it"),
    ],
)
def test_what_is_no_lora_is_said_in_a_sentence(name: str, stored, said: str, unet, tmp_path: Path) -> None:
    file = tmp_path / name
    if isinstance(stored, bytes):
        file.write_bytes(stored)
    elif stored is not None:
        save_file(stored, file)
    with pytest.raises(ModelError, match=said):
        lora_files.read(file, unet)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("part", ["lora_down.weight", "lora_up.weight", "alpha"])
def test_a_value_that_is_not_finite_is_refused_when_the_file_is_read(part: str, number: float, tmp_path: Path) -> None:
    flat, file = f"lora_unet_{LAYER.replace('.', '_')}", tmp_path / "broken.safetensors"
    stored = {kohya(LAYER, role): value.half() for role, value in tensors()[LAYER].items()}
    stored[f"{flat}.alpha"] = torch.tensor(2.0)
    stored[f"{flat}.{part}"].view(-1)[-1] = number
    save_file(stored, file)
    with pytest.raises(
        ModelError, match=rf"broken\.safetensors: {flat}\.{part} has values that are not finite"
    ) as said:
        lora_files.load(file)
    assert said.value.exit_code == 4


@pytest.mark.parametrize(
    ("layer", "down", "up", "shown"),
    [
        (LAYER, (4, 64), (32, 4), "the down weights of .* have the shape 4×64, and this model's layer needs 4×32"),
        (LAYER, (4, 32), (64, 4), "the up weights of .* have the shape 64×4, and this model's layer needs 32×4"),
        (LAYER, (4, 32), (32, 2), "the up weights of .* have the shape 32×2, and this model's layer needs 32×4"),
        (LAYER, (32,), (32, 1), "the down weights of .* have the shape 32, and"),
        (LAYER, (0, 32), (32, 0), "the down weights of .* have the shape 0×32, and this model's layer needs 1×32"),
        (PLAIN, (2, 64), (64, 2), "the down weights of .* have the shape 2×64, and this model's layer needs 2×64×1×1"),
    ],
)
@pytest.mark.parametrize("alpha", [True, False])
def test_another_shape_names_file_layer_and_both_shapes(
    layer: str, down: tuple[int, ...], up: tuple[int, ...], shown: str, alpha: bool, unet
) -> None:
    stored = {kohya(layer, "down"): torch.ones(down), kohya(layer, "up"): torch.ones(up)}
    stored |= {f"lora_unet_{layer.replace('.', '_')}.alpha": torch.tensor(1.0)} if alpha else {}
    with pytest.raises(ModelError, match=f"far/x.safetensors: {shown}") as said:
        lora_files.convert(stored, Path("far/x.safetensors"), unet)
    assert layer in str(said.value)


def test_an_alpha_that_is_no_number_is_refused(unet) -> None:
    stored = {kohya(LAYER, role): value for role, value in tensors()[LAYER].items()}
    stored[f"lora_unet_{LAYER.replace('.', '_')}.alpha"] = torch.ones(2)
    with pytest.raises(ModelError, match=f"the alpha of {LAYER} has the shape 2, and is no number"):
        lora_files.convert(stored, Path("x"), unet)
