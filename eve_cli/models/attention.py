"""Attention and features of a network, changed or read for a while; afterwards it is what it was, to the bit.

Layers go by their names in the tree (`tree.named_modules()`), which a backbone and the video model made of it share.
All of it nests, may be left in any order of time by an exception, and keeps weights, hooks and processors of others.
Meanwhile a network is `told`, and is run as diffusers runs it, since a quicker way does not pass by what was changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`attend(query, key, value) -> out`, all (rows, heads, tokens, dim): what stands for `plain` in a layer.

Rows are frames, each with the tokens of its picture; in the temporal layers they are places, and the frames are tokens.
"""
Change = Callable[[Tensor], Tensor]
TOLD = "eve_told"

SELF = r"(?!.*motion_modules).*\.attn1"
"""Names of the layers in which a picture's places attend to each other."""
CROSS = r"(?!.*motion_modules).*\.attn2"
"""Names of the layers in which places attend to words."""
TEMPORAL = r".*motion_modules.*\.attn[12]"
"""Names of the layers in which frames attend to each other."""


def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(query key^T / sqrt(dim)) value."""
    return F.scaled_dot_product_attention(query, key, value)


def weights(query: Tensor, key: Tensor) -> Tensor:
    """The attention map softmax(query key^T / sqrt(dim)): (rows, heads, query tokens, key tokens)."""
    return (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)


def named(tree: nn.Module, pattern: str = r".*\.attn[12]") -> list[str]:
    """The names of the attention layers that match a pattern wholly, in the order in which the tree runs them."""
    order = ("down_blocks", "mid_block", "up_blocks")
    found = [
        name for name, module in tree.named_modules() if isinstance(module, Attention) and re.fullmatch(pattern, name)
    ]
    return sorted(found, key=lambda name: next((i for i, part in enumerate(order) if name.startswith(part)), 0))


@contextmanager
def attending(tree: nn.Module, attend: Mapping[str, Attend]) -> Iterator[None]:
    """Attention layers attend as they are told, by name; ValueError for a name that is no attention layer of the tree.

    Inside another `attending` the inner one counts, for the layers that it names.
    """
    with ExitStack() as after:
        _tell(tree, after)
        for name, function in attend.items():
            layer = _layer(tree, name)
            after.callback(_put, layer, layer.processor)
            _put(layer, _Told(function))
        yield


@contextmanager
def changing(tree: nn.Module, change: Mapping[str, Change]) -> Iterator[None]:
    """What modules put out is changed, by name: injects features. A module that puts out a tuple has its first changed.

    Nested changes of one module act one behind the other, the outer first.
    """
    with ExitStack() as after:
        _tell(tree, after)
        for name, function in change.items():
            handle = tree.get_submodule(name).register_forward_hook(_hook(function))
            after.callback(handle.remove)
        yield


@contextmanager
def recording(tree: nn.Module, names: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Keeps what modules put out, by name, a tensor for each call; what is kept is not copied."""
    kept: dict[str, list[Tensor]] = {name: [] for name in names}

    def keep(name: str) -> Change:
        return lambda out: kept[name].append(out) or out

    with changing(tree, {name: keep(name) for name in names}):
        yield kept


@contextmanager
def recording_attention(tree: nn.Module, names: Sequence[str]) -> Iterator[dict[str, list[tuple[Tensor, ...]]]]:
    """Keeps (query, key, value) of attention layers, by name, one for each call: `weights` makes maps of them.

    A layer that is told how to attend goes on to be.
    """
    kept: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in names}

    def keep(name: str) -> Attend:
        told = getattr(_layer(tree, name).processor, "attend", plain)

        def attend(*qkv: Tensor) -> Tensor:
            kept[name].append(qkv)
            return told(*qkv)

        return attend

    with attending(tree, {name: keep(name) for name in names}):
        yield kept


def told(tree: nn.Module) -> bool:
    """Whether attention or features of a network are changed or read now."""
    return tree.__dict__.get(TOLD, 0) > 0


def _tell(tree: nn.Module, after: ExitStack) -> None:
    """Counts one more that tells a network something, and afterwards one less."""
    before = tree.__dict__.get(TOLD, 0)
    tree.__dict__[TOLD] = before + 1
    after.callback(tree.__dict__.__setitem__, TOLD, before)


class _Told:
    """A processor that attends by a function."""

    def __init__(self, attend: Attend) -> None:
        self.attend = attend

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        if attention_mask is not None:
            raise ValueError("An attention layer that is told how to attend takes no mask.")
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        parts = (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        query, key, value = (part.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for part in parts)
        out = self.attend(query, key, value).transpose(1, 2).flatten(2).to(query.dtype)
        for module in attn.to_out:
            out = module(out)
        return out


def _layer(tree: nn.Module, name: str) -> Attention:
    try:
        layer = tree.get_submodule(name)
    except AttributeError:
        layer = None
    if not isinstance(layer, Attention):
        raise ValueError(f"{name} is no attention layer of this network.")
    odd = layer.group_norm, layer.spatial_norm, layer.norm_q, layer.norm_k, layer.norm_cross
    if layer.residual_connection or any(module is not None for module in odd) or layer.rescale_output_factor != 1:
        raise ValueError(f"{name} does more than attend; it cannot be told how.")
    return layer


def _put(layer: Attention, processor: Any) -> None:
    """Without diffusers' `set_processor`, which logs where a processor is a module."""
    layer._modules.pop("processor", None)
    layer.__dict__.pop("processor", None)
    layer.processor = processor


def _hook(function: Change) -> Callable[[nn.Module, Any, Any], Any]:
    def changed(module: nn.Module, inputs: Any, out: Any) -> Any:
        return (function(out[0]), *out[1:]) if isinstance(out, tuple) else function(out)

    return changed
