"""Stands around each heavy call of an edit: less memory where it runs out, fp32 where numbers blow up, and a clock."""

from __future__ import annotations

import gc
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from eve_cli.errors import EveError, OutOfMemory, is_out_of_memory
from eve_cli.runtime.oom import FALLBACKS, Fallback, Stage, modules_of

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor

Event = dict[str, Any]
"""`{"at": "window 3", "what": "out of memory" | "not finite", "then": a fallback's name | "fp32", "stage": ...}`."""
HABIT = 2
"""So many times a stage is not finite before it stays in fp32."""


class Guard:
    """Runs the calls that make latents and frames; what it had to do is told by `note` and given to `keep`.

    `past` are the events of the same run before it was stopped: what was changed then is changed from the start.
    """

    def __init__(
        self,
        editor: Editor,
        on_oom: Literal["retry", "fail"] = "retry",
        note: Callable[[str], None] = lambda text: None,
        keep: Callable[[Event], None] = lambda event: None,
        past: list[Event] | None = None,
    ) -> None:
        self.editor, self.on_oom, self.note, self.keep = editor, on_oom, note, keep
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.taken: list[str] = []
        self.blown: Counter[str] = Counter()
        for name in vars(editor).get("fallbacks", ()):  # an editor that was used before stays as it is
            self.taken.append(name)
            self._keep("window", "the beginning", "out of memory before", name)
        for event in past or []:
            if event["then"] == "fp32":
                self.blown[event["stage"]] += 1
            else:
                self._take(next(fallback for fallback in FALLBACKS if fallback.name == event["then"]))

    def __call__(self, stage: Stage, at: str, work: Callable[[], Tensor]) -> Tensor:
        """What `work` makes, all finite; `at` names it for people. OutOfMemory or EveError if there is no way."""
        started = time.perf_counter()
        with precise(self.editor) if self.blown[stage] >= HABIT else nullcontext():
            made = self._made(stage, at, work)
        if not _finite(made):
            made = self._again(stage, at, work)
        self.seconds[stage] += time.perf_counter() - started
        return made

    def _made(self, stage: Stage, at: str, work: Callable[[], Tensor]) -> Tensor:
        while True:
            try:
                return work()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                said = str(error).strip().split(". ")[0].split("\n")[0]
            self._need_less(stage, at, said)

    def _need_less(self, stage: Stage, at: str, said: str) -> None:
        """Takes the next fallback that helps here; the failed call's tensors are gone by now, as its error is."""
        gc.collect()
        if self.editor.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.on_oom == "fail":
            raise OutOfMemory(f"Memory ran out at {at} ({said}): leave out --on-oom fail, and eve tries to need less.")
        for fallback in FALLBACKS:
            if stage in fallback.stages and self._take(fallback):
                self.note(
                    f"{at}: memory ran out; from now on {fallback.means} ({fallback.name}), and {at} is done again"
                )
                self._keep(stage, at, "out of memory", fallback.name)
                return
        tried = f"with {', '.join(self.taken)} already" if self.taken else "and there is no way to need less"
        raise OutOfMemory(
            f"Memory ran out at {at} {tried} ({said}): try a shorter --window or --span, or --device cpu."
        )

    def _take(self, fallback: Fallback) -> bool:
        if not fallback.take(self.editor):
            return False
        self.taken.append(fallback.name)
        vars(self.editor).setdefault("fallbacks", []).append(fallback.name)
        return True

    def _again(self, stage: Stage, at: str, work: Callable[[], Tensor]) -> Tensor:
        if getattr(self.editor, "dtype", torch.float32) == torch.float32:
            raise EveError(_hopeless(at))
        self.blown[stage] += 1
        stays = f"; from now on every {stage} is in fp32" if self.blown[stage] == HABIT else ""
        self.note(f"{at}: numbers that are not finite; it is done again in fp32{stays}")
        self._keep(stage, at, "not finite", "fp32")
        with precise(self.editor):
            made = self._made(stage, at, work)
        if not _finite(made):
            raise EveError(_hopeless(at))
        return made

    def _keep(self, stage: Stage, at: str, what: str, then: str) -> None:
        self.keep({"at": at, "stage": stage, "what": what, "then": then})


@contextmanager
def precise(editor: Editor) -> Iterator[None]:
    """The editor in fp32, all its parts; afterwards it is as it was, to the bit."""
    held = {
        each: each.dtype for module in modules_of(editor) for each in _numbers(module) if each.dtype != torch.float32
    }
    was, editor.dtype = editor.dtype, torch.float32
    try:
        for tensor in held:
            tensor.data = tensor.data.float()
        yield
    finally:
        editor.dtype = was
        for tensor, dtype in held.items():
            tensor.data = tensor.data.to(dtype)


def _numbers(module: nn.Module) -> Iterator[Tensor]:
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            yield tensor


def _finite(made: Tensor) -> bool:
    return not made.is_floating_point() or bool(torch.isfinite(made).all())


def _hopeless(at: str) -> str:
    return (
        f"{at} came out with numbers that are not finite, in fp32 too: try another --seed or a lower --guidance-scale."
    )
