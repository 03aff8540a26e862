"""What an edit does when memory runs out or an output is not finite: fallbacks that use less, and fp32."""

from __future__ import annotations

import gc
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from eve_cli.errors import EveError, OutOfMemory, is_out_of_memory

Stage = Literal["encode", "window", "effect", "decode"]
VAE, NETWORKS = ("encode", "decode", "effect"), ("window", "effect")
FIRST_ROWS = 8
FP32_AFTER = 2
"""The number of non-finite outputs of a stage after which it stays in fp32."""

Event = dict[str, Any]
"""`{"at": "window 3", "what": "out of memory" | "not finite", "then": a fallback's name | "fp32", "stage": ...}`."""


class Settings(Protocol):
    """What fallbacks read of a model's settings."""

    @property
    def pixels(self) -> int: ...


class Model(Protocol):
    """What fallbacks read and change of an editor."""

    device: torch.device
    dtype: torch.dtype
    parts: Any
    networks: Any
    in_one_batch: bool
    fallbacks: list[str]

    @property
    def settings(self) -> Settings: ...

    @property
    def factor(self) -> int: ...

    def modules(self) -> list[nn.Module]: ...

    def module_groups(self) -> list[list[nn.Module]]: ...


@dataclass(frozen=True)
class Fallback:
    """One way to use less memory: its name, what it does, and the stages that it helps.

    `apply` changes the model; False if it cannot use (any) less here.
    """

    name: str
    means: str
    stages: tuple[str, ...]
    apply: Callable[[Any], bool]
    gpu: bool = False
    """Whether it moves weights off the device, which does nothing on a CPU."""


def vae_slices(model: Model) -> bool:
    """The vae computes a batch frame by frame, with the same results."""
    vae: Any = model.parts.vae
    if getattr(vae, "use_slicing", True):
        return False
    vae.enable_slicing()
    return True


def vae_tiles(model: Model) -> bool:
    """The vae computes a frame in overlapping tiles, about half as wide as the frame."""
    vae: Any = model.parts.vae
    unit = 4 * model.factor  # so that an overlap of a quarter is whole, in latents too
    tile = -(-model.settings.pixels // (2 * unit)) * unit
    if getattr(vae, "use_tiling", True) or tile >= model.settings.pixels:
        return False
    vae.enable_tiling()
    for name, size in tile_sizes(tile, model.factor).items():
        if hasattr(vae, name):
            setattr(vae, name, size)
    return True


def tile_sizes(tile: int, factor: int) -> dict[str, int]:
    """diffusers' names for the width of a tile and the step to the next, in pixels and in latents."""
    sizes = {"tile_sample_min_size": tile, "tile_latent_min_size": tile // factor}
    for side in ("height", "width"):
        sizes |= {f"tile_sample_min_{side}": tile, f"tile_sample_stride_{side}": tile * 3 // 4}
    return sizes


def fewer_frames(model: Model) -> bool:
    """Spatial layers compute 8 frames at once, then 4, 2 and 1."""
    networks = model.networks
    if getattr(networks, "rows", 1) == 1:
        return False
    networks.rows = FIRST_ROWS if networks.rows is None else networks.rows // 2
    return True


def branches_in_turn(model: Model) -> bool:
    """The branches of guidance are computed one after the other."""
    before, model.in_one_batch = model.in_one_batch, False
    return before


def offload(model: Model) -> bool:
    """Modules that are not in use wait in main memory; False on a CPU, where they are already."""
    groups = model.module_groups()
    if model.device.type == "cpu" or any(
        isinstance(hook, _Onload) for hook in groups[0][0]._forward_pre_hooks.values()
    ):
        return False
    for group in groups:
        others = [module for other in groups if other is not group for module in other]
        for module in group:
            module.register_forward_pre_hook(_Onload(group, others, model.device))
    return True


@dataclass(frozen=True)
class _Onload:
    """Before a module runs, its group is moved to the device and all others off it."""

    group: list[nn.Module]
    others: list[nn.Module]
    device: torch.device

    def __call__(self, module: nn.Module, inputs: Any) -> None:
        for other in self.others:
            move(other, "cpu")
        for member in self.group:
            move(member, self.device)


def run_pre_hooks(module: nn.Module) -> None:
    """Runs the forward pre-hooks of a module whose layers are about to be called without its forward function."""
    for hook in module._forward_pre_hooks.values():
        hook(module, ())


def move(module: nn.Module, device: torch.device | str) -> None:
    """Moves a module's weights, unless they are there."""
    first = next(module.parameters(), None)
    if first is not None and first.device.type != torch.device(device).type:
        nn.Module.to(module, device)


FALLBACKS = (
    Fallback("vae-slices", "the vae computes one frame at a time", VAE, vae_slices),
    Fallback("vae-tiles", "the vae computes each frame in tiles, whose borders can differ slightly", VAE, vae_tiles),
    Fallback("fewer-frames", "the networks compute half as many frames at once", NETWORKS, fewer_frames),
    Fallback("branches-in-turn", "the branches of guidance are computed one by one", NETWORKS, branches_in_turn),
    Fallback("offload", "modules that are not in use wait in main memory", (*VAE, *NETWORKS), offload, gpu=True),
)
"""In the order in which they are applied; each stays for the rest of the run."""

M = TypeVar("M", bound=Model)


class FallbackRunner(Generic[M]):
    """Runs the calls that compute latents and frames, with fallbacks where one fails, and times them.

    `note` is called with a line for people, `record` with an `Event`. `past` are the events of the same run before it
    was interrupted: their fallbacks are applied at once.
    """

    def __init__(
        self,
        editor: M,
        on_oom: Literal["retry", "fail"] = "retry",
        note: Callable[[str], None] = lambda text: None,
        record: Callable[[Event], None] = lambda event: None,
        past: list[Event] | None = None,
    ) -> None:
        self.editor, self.on_oom, self.note, self.record = editor, on_oom, note, record
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.not_finite: Counter[str] = Counter()
        self.applied: list[str] = list(editor.fallbacks)  # an editor keeps those of earlier runs
        for name in self.applied:
            self._record("window", "the beginning", "out of memory before", name)
        for event in past or []:
            if event["then"] == "fp32":
                self.not_finite[event["stage"]] += 1
            else:
                self._apply(next(fallback for fallback in FALLBACKS if fallback.name == event["then"]))

    def __call__(self, stage: Stage, at: str, compute: Callable[[], Tensor]) -> Tensor:
        """The result of `compute`, all finite; `at` is its name in messages.

        OutOfMemory if no fallback is left, EveError if the result is not finite in fp32 either.
        """
        started = time.perf_counter()
        in_fp32 = self.not_finite[stage] >= FP32_AFTER
        while True:
            try:
                with fp32(self.editor) if in_fp32 else nullcontext():
                    result = compute()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).strip().split(". ")[0].split("\n")[0]
            else:
                if not result.is_floating_point() or bool(torch.isfinite(result).all()):
                    break
                if in_fp32 or self.editor.dtype == torch.float32:
                    raise EveError(
                        f"The output of {at} is not finite, in fp32 either: try another --seed or a lower "
                        "--guidance-scale."
                    )
                self._note_not_finite(stage, at)
                in_fp32 = True
                continue
            self._use_less(stage, at, reason)
        self.seconds[stage] += time.perf_counter() - started
        return result

    def _use_less(self, stage: Stage, at: str, reason: str) -> None:
        """Applies the next fallback that helps here; the tensors of the failed call are freed by now."""
        gc.collect()
        if self.editor.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.on_oom == "fail":
            raise OutOfMemory(f"Out of memory at {at} ({reason}): leave out --on-oom fail to retry with fallbacks.")
        for fallback in FALLBACKS:
            if stage in fallback.stages and self._apply(fallback):
                self.note(f"{at}: out of memory; retrying with {fallback.name}: from now on {fallback.means}")
                self._record(stage, at, "out of memory", fallback.name)
                return
        tried = f"with {', '.join(self.applied)}" if self.applied else "and no fallback applies"
        raise OutOfMemory(
            f"Out of memory at {at} {tried} ({reason}): try a shorter --window or --span, or --device cpu."
        )

    def _apply(self, fallback: Fallback) -> bool:
        if not fallback.apply(self.editor):
            return False
        self.applied.append(fallback.name)
        self.editor.fallbacks.append(fallback.name)
        return True

    def _note_not_finite(self, stage: Stage, at: str) -> None:
        self.not_finite[stage] += 1
        stays = f"; from now on every {stage} is in fp32" if self.not_finite[stage] == FP32_AFTER else ""
        self.note(f"{at}: non-finite outputs are recomputed in fp32{stays}")
        self._record(stage, at, "not finite", "fp32")

    def _record(self, stage: Stage, at: str, what: str, then: str) -> None:
        self.record({"at": at, "stage": stage, "what": what, "then": then})


@contextmanager
def fp32(model: Model) -> Iterator[None]:
    """All modules of a model in fp32; afterwards they are as before, to the bit."""
    tensors = {
        tensor: tensor.dtype
        for module in model.modules()
        for tensor in (*module.parameters(), *module.buffers())
        if tensor.is_floating_point() and tensor.dtype != torch.float32
    }
    before, model.dtype = model.dtype, torch.float32
    try:
        for tensor in tensors:
            tensor.data = tensor.data.float()
        yield
    finally:
        model.dtype = before
        for tensor, dtype in tensors.items():
            tensor.data = tensor.data.to(dtype)
