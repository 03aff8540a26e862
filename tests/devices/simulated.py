"""Simulated GPUs, on which every operation computes on the CPU but must not mix devices.

A tensor "on" `cuda:N` is an ordinary one that carries the name of its GPU. So values, gradients and number formats are
real, and code runs to its end, while an operation on tensors of two devices fails as it does on real GPUs. (Fake
tensors of torch have no gradients on GPUs if torch is built without CUDA.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

DEVICES = ("cuda:0", "cuda:1")
GET_DEVICE: Any = Tensor.device.__get__  # type: ignore[attr-defined]
GET_IS_CUDA: Any = Tensor.is_cuda.__get__  # type: ignore[attr-defined]
SET_DATA: Any = Tensor.data.__set__  # type: ignore[attr-defined]
CROSSING = {Tensor.copy_, torch._has_compatible_shallow_copy_type}  # may read another device
OF_ONE = {torch.stack, torch.cat, torch.concat}  # take no scalar from another device
INDEXING = {Tensor.__getitem__, Tensor.__setitem__, Tensor.index_put_}  # numbers of rows may lie on the CPU


def gpu(tensor: Tensor) -> torch.device | None:
    """The GPU that a tensor is on; None on the CPU."""
    return tensor.__dict__.get("gpu")


class Gpus(TorchFunctionMode):
    """Inside, `cuda` is the GPU `current`, and operations across devices are errors."""

    def __init__(self, current: int) -> None:
        super().__init__()
        self.current = current

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch._C._nn._parse_to:  # pyright: ignore
            return func(*args, **kwargs)
        if func == GET_DEVICE:
            return gpu(args[0]) or func(*args, **kwargs)
        if func == GET_IS_CUDA:
            return gpu(args[0]) is not None
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if func is Tensor.numpy and gpu(args[0]):
            raise TypeError(f"can't convert {gpu(args[0])} device type tensor to numpy: use Tensor.cpu() first")
        if func == SET_DATA or func in CROSSING:
            if func == SET_DATA:
                args[0].__dict__["gpu"] = gpu(args[1])
            return func(*args, **kwargs)
        place = self._common(func, inputs)
        moved, args, kwargs = self._destination(func, args, kwargs)
        if moved:
            place = moved if moved.type == "cuda" else None
        result = func(*args, **kwargs)
        return self._placed(func, result, inputs, place)

    def _common(self, func: Any, inputs: list[Tensor]) -> torch.device | None:
        """The device of all inputs; RuntimeError if they are on several."""
        on_gpu = {gpu(tensor) for tensor in inputs if gpu(tensor)}
        if func in (Tensor.to, Tensor.type_as):
            return gpu(inputs[0])
        others = inputs[:1] if func in INDEXING else inputs
        on_cpu = [t for t in others if not gpu(t) and not t.is_meta and (t.ndim or func in OF_ONE)]
        if len(on_gpu) > 1 or (on_gpu and on_cpu):
            devices = sorted({str(gpu(tensor) or "cpu") for tensor in inputs})
            name = getattr(func, "__name__", func)
            raise RuntimeError(f"Expected all tensors to be on the same device, but {name} got {' and '.join(devices)}")
        return next(iter(on_gpu), None)

    def _destination(self, func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[torch.device | None, Any, dict]:
        """The device that a call names, and its arguments with the CPU in place of a GPU."""
        if func is Tensor.cpu:
            return torch.device("cpu"), args, kwargs
        if func is Tensor.cuda:
            raise AssertionError("the code names no GPU of its own")
        target: torch.device | None = None
        if func is Tensor.to and len(args) > 1 and isinstance(args[1], Tensor):
            return gpu(args[1]) or args[1].device, args, kwargs
        if isinstance(kwargs.get("device"), str | torch.device):
            target = torch.device(kwargs["device"])
            kwargs["device"] = "cpu" if target.type == "cuda" else target
        if func is Tensor.to:
            named = [torch.device(v) for v in args if isinstance(v, str | torch.device)]
            target = named[0] if named else target
            if named and named[0].type == "cuda":
                args = tuple(torch.device("cpu") if isinstance(v, str | torch.device) else v for v in args)
        if target is not None and target.type == "cuda" and target.index is None:
            target = torch.device("cuda", self.current)
        return target, args, kwargs

    def _placed(self, func: Any, result: Any, inputs: list[Tensor], place: torch.device | None) -> Any:
        """The results of a call on their device; copied if one is an input on another."""
        if func in (Tensor.to, Tensor.cpu) and gpu(inputs[0]) != place and result is inputs[0]:
            result = result.clone()
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and not leaf.is_meta and not (place is None and not gpu(leaf)):
                leaf.__dict__["gpu"] = place
        return result


@contextmanager
def gpus(current: int | str = 0, bf16: bool = True) -> Iterator[None]:
    """Simulates two GPUs, of which `current` is this process's; without `bf16` they only emulate it."""
    index = torch.device(current).index if isinstance(current, str) else current
    cuda: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: len(DEVICES),
        "current_device": lambda: index,
        "is_bf16_supported": lambda including_emulation=True: bf16 or including_emulation,
        "mem_get_info": lambda device=None: (1 << 36, 1 << 37),
        "memory_reserved": lambda device=None: 0,
        "memory_allocated": lambda device=None: 0,
        "max_memory_allocated": lambda device=None: 0,
        "reset_peak_memory_stats": lambda device=None: None,
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "get_device_name": lambda device=None: "simulated GPU",
    }
    autocast = torch.autocast.__init__

    def on_cpu(self: torch.autocast, device_type: str, *args: Any, **kwargs: Any) -> None:
        autocast(self, "cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    new_parameter = nn.Parameter.__new__

    def parameter(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        made = new_parameter(cls, data, requires_grad)
        if data is not None and gpu(data):
            made.__dict__["gpu"] = gpu(data)
        return made

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(nn.Parameter, "__new__", parameter))
        for name, value in cuda.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch.object(torch.autocast, "__init__", on_cpu))
        stack.enter_context(Gpus(index or 0))
        yield


def devices_of(*modules: nn.Module) -> set[str]:
    """The devices of all weights and buffers."""
    return {str(value.device) for m in modules for value in (*m.parameters(), *m.buffers())}
