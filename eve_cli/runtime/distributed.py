"""The processes that `accelerate launch` starts for one edit or one training: the main one reads, writes and prints.

Imports nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Value = TypeVar("Value")
TIMEOUT = timedelta(hours=6)  # the main process writes long videos while the others wait
BUCKET = 16_000_000  # numbers a message: large enough to be fast, small enough to need little extra memory


def world_size() -> int:
    """The number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """The number of this process on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    """The number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", str(world_size())))


def several() -> bool:
    """Whether this process is one of several."""
    return world_size() > 1


def is_main() -> bool:
    """Whether this is the process that reads, writes and prints."""
    return rank() == 0


def connect(cpu: bool = False) -> None:
    """Connects the processes; returns when all are there. On GPUs each process has its own, its current one."""
    if several():
        import torch
        from accelerate import PartialState

        PartialState(cpu=cpu or not torch.cuda.is_available() or "ACCELERATE_USE_CPU" in os.environ, timeout=TIMEOUT)


def process_device(name: str = "auto") -> torch.device:
    """Connects the processes, and returns the device on which this one trains: its own GPU, or the CPU.

    It has a number, since a thread of its own starts with GPU 0 as its current one.
    """
    import torch

    connect(cpu=name == "cpu")
    if name == "cpu" or not torch.cuda.is_available() or (several() and "ACCELERATE_USE_CPU" in os.environ):
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def connected() -> bool:
    """Whether this process is one of several that are connected."""
    if not several():
        return False
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def broadcast(value: Value | None) -> Value:
    """The main process's value, in all processes."""
    values: list[Value | None] = [value]
    if several():
        import torch.distributed as dist

        dist.broadcast_object_list(values, 0)
    assert values[0] is not None
    return values[0]


def wait() -> None:
    """Waits until all processes are here."""
    if several():
        import torch.distributed as dist

        dist.barrier()


def broadcast_weights(modules: Mapping[str, nn.Module]) -> None:
    """Gives every process the main one's weights and buffers."""
    if connected():
        import torch.distributed as dist

        for module in modules.values():
            for value in module.state_dict().values():
                dist.broadcast(value, 0)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replaces each gradient by its mean over the processes; a missing one counts as zero.

    Unlike wrapped modules this lets a recipe call any part in any order.
    """
    if not connected():
        return
    import torch
    import torch.distributed as dist

    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets([p.grad for p in parameters if p.grad is not None]):
        flat = torch.cat([g.reshape(-1) for g in bucket])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for grad, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            grad.copy_(part.view_as(grad))


def largest(values: Sequence[float], device: torch.device) -> list[float]:
    """The largest of each value over the processes."""
    if not connected():
        return list(values)
    import torch
    import torch.distributed as dist

    shared = torch.tensor(values, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return shared.tolist()


def mean(value: Tensor) -> Tensor:
    """The mean of a tensor over the processes, in place."""
    if connected():
        import torch.distributed as dist

        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value


def _buckets(grads: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for grad in grads:
        if bucket and (size + grad.numel() > BUCKET or grad.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(grad)
        size += grad.numel()
    if bucket:
        yield bucket
