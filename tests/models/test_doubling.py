"""A transposed convolution stands for doubling and convolving, in every module that diffusers has for it."""

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_dc import DCUpBlock2d
from diffusers.models.upsampling import Upsample2D
from torch import nn

from eve_cli.models.inference.doubling import Doubling, doubled

MODULES = {
    "upsampler": lambda: Upsample2D(6, use_conv=True, out_channels=4),
    "with a shortcut": lambda: DCUpBlock2d(6, 3, interpolate=True, shortcut=True),
    "without": lambda: DCUpBlock2d(6, 3, interpolate=True, shortcut=False),
}


@torch.no_grad()
@pytest.mark.parametrize("name", MODULES)
def test_doubling_is_the_plain_module(name: str) -> None:
    module, x = MODULES[name]().double(), torch.randn(2, 6, 5, 7, dtype=torch.float64)
    tree, plain, names = nn.Sequential(module), module(x), set(module.state_dict())
    doubled(tree, {})
    assert isinstance(tree[0], Doubling) and names < set(module.state_dict())  # other trees are grafted on by name
    torch.testing.assert_close(tree(x), plain, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_another_size_than_the_double_is_the_plain_module_s() -> None:
    module, x = Upsample2D(6, use_conv=True, out_channels=4), torch.randn(1, 6, 5, 7)
    plain = module(x, (9, 13))
    doubled(nn.Sequential(module), {})
    assert isinstance(module, Doubling) and torch.equal(module(x, (9, 13)), plain)


def test_trees_over_the_same_weights_share_a_kernel_and_other_modules_stay() -> None:
    one, known = Upsample2D(6, use_conv=True, out_channels=4), {}
    other = Upsample2D(6, use_conv=True, out_channels=4)
    other.conv.weight = one.conv.weight
    trees = [nn.Sequential(one, Upsample2D(6)), nn.Sequential(other)]
    for tree in trees:
        doubled(tree, known)
    assert trees[0][0].kernel is trees[1][0].kernel and isinstance(trees[0][1], Upsample2D)
