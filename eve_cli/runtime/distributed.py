"""Several processes that do one edit, as `accelerate launch` starts them: the first one leads.

All compute; the leading one alone reads the source, writes files and prints. Imports nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

Value = TypeVar("Value")
PATIENCE = timedelta(hours=6)  # the leader writes long videos while the others wait


def several() -> bool:
    """Whether this process is one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def leads() -> bool:
    """Whether this is the process that reads and writes."""
    return int(os.environ.get("RANK", "0")) == 0


def join() -> None:
    """Meets the others; returns when all are there. On GPUs each process has its own."""
    if several():
        import torch
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available() or "ACCELERATE_USE_CPU" in os.environ, timeout=PATIENCE)


def broadcast(value: Value | None) -> Value:
    """The leading process's value, in all processes."""
    values: list[Value | None] = [value]
    if several():
        import torch.distributed as dist

        dist.broadcast_object_list(values, 0)
    assert values[0] is not None
    return values[0]


def wait() -> None:
    """Until all processes have come here."""
    if several():
        import torch.distributed as dist

        dist.barrier()


def own(items: Sequence[Value]) -> Sequence[Value]:
    """This process's stretch of items."""
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    return items[len(items) * rank // size : len(items) * (rank + 1) // size]
