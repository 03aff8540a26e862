"""What several training processes share: starting weights, gradients, the clock, and the wish to stop."""

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from eve_cli.errors import UsageError
from eve_cli.training.settings import LoopSettings

BUCKET = 16_000_000  # numbers a message: large enough to be quick, small enough to need little extra memory


def accelerator(settings: LoopSettings) -> Accelerator:
    """The accelerate object of a run; UsageError where the device has no such precision."""
    cpu = settings.device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if cpu and settings.precision == "fp16":
        raise UsageError("--precision fp16 needs a GPU; on this device use bf16 or no.")
    if AcceleratorState().initialized if AcceleratorState._shared_state else False:
        AcceleratorState._reset_state(reset_partial_state=False)  # an earlier run may have had another precision
    return Accelerator(mixed_precision=_precision(settings.precision, cpu), cpu=cpu)


def _precision(wanted: str, cpu: bool) -> str:
    """What `auto` means here: bf16 where the device computes in it, else none."""
    if wanted != "auto":
        return wanted
    if cpu:
        known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return "bf16" if known is not None and known() else "no"
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"


def share_start(modules: Mapping[str, nn.Module]) -> None:
    """Gives every process the weights of the first."""
    if not several():
        return
    for module in modules.values():
        for value in module.state_dict().values():
            dist.broadcast(value, 0)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replaces each gradient by its mean over the processes; one that is absent counts as zero.

    Done by hand rather than by wrapping the modules, so that a recipe may call any part in any order.
    """
    if not several():
        return
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
    if not several():
        return list(values)
    shared = torch.tensor(values, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return shared.tolist()


def mean(value: Tensor) -> Tensor:
    """The mean of a tensor over the processes."""
    if several():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value


def several() -> bool:
    """Whether more than one process trains."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


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
