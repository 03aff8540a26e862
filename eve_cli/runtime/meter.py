"""What computing costs, counted on tensors without content (the meta device): nothing is computed, no memory taken."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

META = torch.device("meta")
BACKWARD = 2.5  # operations of a fused attention's backward pass by those of its forward pass (Dao et al. 2022)


class Meter(TorchDispatchMode):
    """Adds up the operations of matrix products and convolutions, and the bytes that live at any time.

    A multiply-add is two operations. `live` is what lives now, `peak` the most that did; what was there before is not
    counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0.0
        self.live = self.peak = 0
        self.storages: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        for tensor in out if isinstance(out, (list, tuple)) else (out,):
            if isinstance(tensor, Tensor):
                self._allocated(tensor)
        return out

    def _allocated(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.storages:
            self.storages.add(key)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._freed, key, storage.nbytes())

    def _freed(self, key: int, size: int) -> None:
        self.storages.discard(key)
        self.live -= size


@contextmanager
def attention(meter: Meter) -> Iterator[None]:
    """Inside, attention on the meta device counts as fused kernels compute it, without the matrix of all pairs, forward
    and backward. (A torch mode would miss what checkpointing recomputes.)"""
    plain = functional.scaled_dot_product_attention

    def counted(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not query.is_meta:
            return plain(query, key, value, *args, **kwargs)
        return _Fused.apply(query, key, value, meter)

    functional.scaled_dot_product_attention = counted
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = plain


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, meter: Meter) -> Tensor:
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        pairs = query.shape[:-1].numel() * key.shape[-2]
        ctx.meter, ctx.flops = meter, 2 * pairs * (query.shape[-1] + value.shape[-1])
        ctx.save_for_backward(query, key, value, out)
        meter.flops += ctx.flops
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        ctx.meter.flops += BACKWARD * ctx.flops
        query, key, value, _ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), None
