"""The cost of an edit, counted on meta tensors: nothing is computed, and no memory is used."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from eve_cli.runtime.meter import META, Meter, attention

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


@dataclass(frozen=True)
class Cost:
    """Floating point operations (a multiply-add is two), calls of networks, and peak bytes.

    The bytes are those of activations: weights are not among them.
    """

    flops: float = 0.0
    calls: int = 0
    bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        """One after the other."""
        return Cost(self.flops + other.flops, self.calls + other.calls, max(self.bytes, other.bytes))

    def times(self, count: float) -> Cost:
        """The same `count` times."""
        return Cost(self.flops * count, round(self.calls * count), self.bytes)


def meta_copy(editor: Editor) -> Editor:
    """A copy of an editor whose tensors have shapes and types but no content; computing with it is free."""
    memo: dict[int, Any] = {id(editor.parts.tokenizer): editor.parts.tokenizer}
    for module in editor.modules():
        for tensor in (*module.parameters(), *module.buffers()):
            empty = tensor.detach().to(META)
            memo[id(tensor)] = nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
    copied = copy.deepcopy(editor, memo)
    copied.device = META
    return copied


def weight_bytes(modules: Iterable[nn.Module]) -> int:
    """What the weights of modules take, those that several share once."""
    weights = {id(each): each for module in modules for each in module.parameters()}
    return sum(each.numel() * each.element_size() for each in weights.values())


def count(editor: Editor, work: Callable[[], Any]) -> Cost:
    """What `work` costs, done with the meta_copy `editor`."""
    calls = 0

    def called(*_: Any) -> None:
        nonlocal calls
        calls += 1

    networks = [*editor.unets(), *([editor.parts.edit] if editor.parts.edit is not None else [])]
    hooks = [network.register_forward_pre_hook(called) for network in networks]
    meter = Meter()
    try:
        with torch.inference_mode(False), torch.no_grad(), meter, attention(meter):
            work()
    finally:
        for hook in hooks:
            hook.remove()
    return Cost(meter.flops, calls, meter.peak)
