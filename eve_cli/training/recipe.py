"""The protocols of a recipe, and the seeds that make every run reproducible."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

Batch = Mapping[str, Any]

_PRIMES = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93)


class Recipe(Protocol):
    """Modules to train, their data and their losses.

    Before each step the loop sets `progress` (0 at the start of the run, 1 at its end), for schedules of a recipe.
    """

    name: str
    modules: dict[str, nn.Module]

    def parameters(self) -> Iterable[nn.Parameter]:
        """The parameters that the optimizer changes; all of them belong to `modules`."""
        ...

    def batch(self, step: int, rank: int) -> Batch:
        """The data of a step: a pure function of (seed, rank, step), called in a background thread.

        It must use generators of its own (see `generator`), never the global one.
        """
        ...

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """The losses by name (scalars); the loop sums those whose name does not start with `_`."""
        ...

    def preview(self, step: int) -> Tensor | None:
        """A picture (3, height, width) in 0-1 of the current results."""
        ...


@runtime_checkable
class Movable(Protocol):
    """A recipe with frozen parts that must be moved to the device too."""

    def to(self, device: torch.device) -> Any: ...


@runtime_checkable
class Stateful(Protocol):
    """A recipe with state beside its modules (discriminators, their optimizers) that belongs in checkpoints."""

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, state: dict[str, Tensor]) -> None: ...


@runtime_checkable
class Concluding(Protocol):
    """A recipe with a last step on the trained weights, such as normalising latents."""

    def conclude(self) -> None: ...


@runtime_checkable
class Saving(Protocol):
    """A recipe whose result is not a whole model: it writes its own files, with the run's record."""

    def save(self, path: Path, record: Mapping[str, Any]) -> Path: ...


@runtime_checkable
class WithNote(Protocol):
    """A recipe with a sentence about its data that is printed when training starts; it may be empty."""

    def note(self) -> str: ...


@runtime_checkable
class WithWarnings(Protocol):
    """A recipe that warns about suspicious mean losses."""

    def warnings(self, means: Mapping[str, float]) -> list[str]: ...


def step_seed(seed: int, rank: int, step: int, stream: int = 0) -> int:
    """A 63-bit seed, mixed from the run's seed, the process, the step and the number of a stream."""
    mixed = 0
    for value, prime in zip((seed, rank, step, stream), _PRIMES, strict=True):
        mixed = (mixed ^ (value + 1)) * prime & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 31
    return mixed & 0x7FFFFFFFFFFFFFFF


def generator(seed: int, rank: int, step: int, stream: int = 0) -> torch.Generator:
    """A CPU generator seeded by `step_seed`."""
    return torch.Generator().manual_seed(step_seed(seed, rank, step, stream))


def to_device(value: Any, device: torch.device) -> Any:
    """The same batch with its tensors on the device; other values do not change."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {k: to_device(v, device) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(to_device(v, device) for v in value)
    return value
