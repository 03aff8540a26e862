"""Attention and features of a network, changed or read for a while; afterwards it is what it was, to the bit.

Layers go by their names in the network (`unet.named_modules()`), which a backbone and the video model built on it
share. The context managers nest, and undo their own changes alone when they are left, also by an exception. Inside, a
network `is_modified` and is computed by diffusers' forward functions, which call the layers that were changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`attend(query, key, value) -> out`, all (rows, heads, tokens, dim): what replaces `plain` in a layer.

Rows are frames, each with the tokens of its picture; in the temporal layers they are places, and the frames are tokens.
"""
Change = Callable[[Tensor], Tensor]
_MODIFIED: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
"""How many context managers act on a network now."""

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


def named(unet: nn.Module, pattern: str = r".*\.attn[12]") -> list[str]:
    """The names of the attention layers that match a pattern wholly, in the order in which the network runs them."""
    order = ("down_blocks", "mid_block", "up_blocks")
    names = [
        name for name, module in unet.named_modules() if isinstance(module, Attention) and re.fullmatch(pattern, name)
    ]
    return sorted(names, key=lambda name: next((i for i, part in enumerate(order) if name.startswith(part)), 0))


@contextmanager
def attending(unet: nn.Module, attend: Mapping[str, Attend]) -> Iterator[None]:
    """Attention layers attend by these functions, by name; ValueError for a name that is no attention layer.

    Inside another `attending` the inner one replaces the outer one, for the layers that it names.
    """
    with ExitStack() as after:
        _modify(unet, after)
        for name, function in attend.items():
            layer = _layer(unet, name)
            after.callback(_put, layer, layer.processor)
            _put(layer, _Custom(function))
        yield


@contextmanager
def changing(unet: nn.Module, change: Mapping[str, Change]) -> Iterator[None]:
    """Changes the outputs of modules, by name, to inject features; of a tuple the first one.

    Nested changes of one module act one after the other, the outer first.
    """
    with ExitStack() as after:
        _modify(unet, after)
        for name, function in change.items():
            handle = unet.get_submodule(name).register_forward_hook(_hook(function))
            after.callback(handle.remove)
        yield


@contextmanager
def recording(unet: nn.Module, names: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Records the outputs of modules, by name, a tensor for each call; they are not copied."""
    outputs: dict[str, list[Tensor]] = {name: [] for name in names}

    def record(name: str) -> Change:
        return lambda out: outputs[name].append(out) or out

    with changing(unet, {name: record(name) for name in names}):
        yield outputs


@contextmanager
def recording_attention(unet: nn.Module, names: Sequence[str]) -> Iterator[dict[str, list[tuple[Tensor, ...]]]]:
    """Records (query, key, value) of attention layers, by name, one for each call: `weights` computes maps of them.

    A layer whose attention is replaced keeps its function.
    """
    calls: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in names}

    def record(name: str) -> Attend:
        function = getattr(_layer(unet, name).processor, "attend", plain)

        def attend(*qkv: Tensor) -> Tensor:
            calls[name].append(qkv)
            return function(*qkv)

        return attend

    with attending(unet, {name: record(name) for name in names}):
        yield calls


def is_modified(unet: nn.Module) -> bool:
    """Whether attention or features of a network are changed or recorded now."""
    return _MODIFIED.get(unet, 0) > 0


def _modify(unet: nn.Module, after: ExitStack) -> None:
    """Counts one more context manager that acts on a network, until the stack is left."""
    before = _MODIFIED.get(unet, 0)
    _MODIFIED[unet] = before + 1
    after.callback(_MODIFIED.__setitem__, unet, before)


class _Custom:
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
            raise ValueError("An attention layer whose function is replaced takes no mask.")
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        parts = (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        query, key, value = (part.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for part in parts)
        out = self.attend(query, key, value).transpose(1, 2).flatten(2).to(query.dtype)
        for module in attn.to_out:
            out = module(out)
        return out


def _layer(unet: nn.Module, name: str) -> Attention:
    try:
        layer = unet.get_submodule(name)
    except AttributeError:
        layer = None
    if not isinstance(layer, Attention):
        raise ValueError(f"{name} is no attention layer of this network.")
    odd = layer.group_norm, layer.spatial_norm, layer.norm_q, layer.norm_k, layer.norm_cross
    if layer.residual_connection or any(module is not None for module in odd) or layer.rescale_output_factor != 1:
        raise ValueError(f"{name} does more than attend; its function cannot be replaced.")
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
