"""What an edit costs, counted on tensors without content: nothing is computed, and no memory is taken."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from eve_cli.editing.memory import modules_of, trees

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor

META = torch.device("meta")


@dataclass(frozen=True)
class Cost:
    """Floating point operations (a multiply-add is two), calls of networks, and the most bytes that live at once.

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


def ghost(editor: Editor) -> Editor:
    """A copy of an editor whose tensors have shapes and types but no content; computing with it is free."""
    memo: dict[int, Any] = {id(editor.parts.tokenizer): editor.parts.tokenizer}
    for module in modules_of(editor):
        for tensor in (*module.parameters(), *module.buffers()):
            empty = tensor.detach().to(META)
            memo[id(tensor)] = nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
    made = copy.deepcopy(editor, memo)
    made.device = META
    return made


def weight_bytes(modules: Iterable[nn.Module]) -> int:
    """What the weights of modules take, those that several share once."""
    weights = {id(each): each for module in modules for each in module.parameters()}
    return sum(each.numel() * each.element_size() for each in weights.values())


def count(editor: Editor, work: Callable[[], Any]) -> Cost:
    """What `work` costs, done with the ghost `editor`."""
    calls = 0

    def called(*_: Any) -> None:
        nonlocal calls
        calls += 1

    networks = [*trees(editor), *([editor.parts.edit] if editor.parts.edit is not None else [])]
    hooks = [network.register_forward_pre_hook(called) for network in networks]
    meter = _Meter()
    try:
        with torch.inference_mode(False), torch.no_grad(), meter, _Attention(meter):
            work()
    finally:
        for hook in hooks:
            hook.remove()
    return Cost(meter.flops, calls, meter.peak)


class _Meter(TorchDispatchMode):
    """Adds up the operations of matrix products and convolutions, and the bytes that live at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.live = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        for tensor in out if isinstance(out, (list, tuple)) else (out,):
            if isinstance(tensor, Tensor):
                self._born(tensor)
        return out

    def _born(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.known:
            self.known.add(key)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._died, key, storage.nbytes())

    def _died(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


class _Attention(TorchFunctionMode):
    """Attention as fused kernels do it, which never hold the matrix of all pairs."""

    def __init__(self, meter: _Meter) -> None:
        super().__init__()
        self.meter = meter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        given = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        query, key, value = (given[name] for name in ("query", "key", "value"))
        pairs = query.shape[:-1].numel() * key.shape[-2]
        self.meter.flops += 2 * pairs * (query.shape[-1] + value.shape[-1])
        return query.new_empty(*query.shape[:-1], value.shape[-1])
