"""The one training loop: every recipe runs through it."""

import json
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from eve_cli.errors import EveError, OutputError, UsageError
from eve_cli.runtime import distributed
from eve_cli.runtime.device import half
from eve_cli.training import checkpoint as checkpoints
from eve_cli.training import feed
from eve_cli.training.checkpoint import Checkpoint
from eve_cli.training.ema import Average
from eve_cli.training.recipe import Batch, Movable, Recipe, Stateful, WithNote, WithWarnings, step_seed, to_device
from eve_cli.training.record import Record
from eve_cli.training.settings import LoopSettings, changed

_LOOP_STREAM = 0x10  # of step_seed: what the recipe's step draws from the global generator


@dataclass(frozen=True)
class Event:
    """A report of the loop: started, resumed, progress, warning, saved, preview, done or interrupted."""

    kind: str
    step: int
    seconds: float
    fraction: float = 0.0
    remaining: float | None = None
    losses: dict[str, float] = field(default_factory=dict)
    samples_per_second: float = 0.0
    lr: float = 0.0
    path: Path | None = None
    text: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: steps done, seconds, last mean losses, newest checkpoint, whether it was interrupted.

    `main` is true in the first of several processes.
    """

    step: int
    seconds: float
    losses: dict[str, float]
    checkpoint: Path
    interrupted: bool
    main: bool = True


def run(
    recipe: Recipe,
    settings: LoopSettings,
    folder: Path,
    on_event: Callable[[Event], None] | None = None,
    *,
    resume: bool = False,
    config: dict[str, Any] | None = None,
) -> Outcome:
    """Trains for the steps or minutes of `settings`; afterwards the recipe's modules hold the averaged weights.

    `folder` receives checkpoints, record and previews. With `resume` the newest checkpoint there is continued, with
    the same losses as an uninterrupted run; if there is none, training starts from step 0. `config` is kept in
    checkpoints, and a resumed run must have the same. EveError where a loss is not finite; Ctrl-C saves a checkpoint
    and sets `Outcome.interrupted`.
    """
    torch.set_flush_denormal(True)
    plain: dict[str, Any] = json.loads(json.dumps(config or {}))  # as a checkpoint returns it
    loop = _Loop(recipe, settings, folder, on_event or (lambda event: None), plain)
    loop.prepare(resume)
    with _stop_on_signal(loop):
        loop.train()
    return loop.finish()


def lr_factor(settings: LoopSettings, step: int, fraction: float) -> float:
    """Share of the learning rate at a step: rises over the warm-up, falls to 0 over the last `decay_fraction`."""
    rise = min(1.0, (step + 1) / max(1, settings.warmup))
    fall = min(1.0, (1 - fraction) / settings.decay_fraction) if settings.decay_fraction else 1.0
    return min(rise, max(0.0, fall))


class _Loop:
    def __init__(
        self, recipe: Recipe, settings: LoopSettings, folder: Path, on_event: Callable[[Event], None], config: dict
    ) -> None:
        self.recipe, self.settings, self.folder, self.config = recipe, settings, folder, config
        self.accelerator = _accelerator(settings)
        self.device = self.accelerator.device
        self.main = self.accelerator.is_main_process
        self.on_event = on_event if self.main else (lambda event: None)
        self.step = 0
        self.seconds_before = 0.0
        self.started = time.monotonic()
        self.signalled = self.interrupted = False
        self.fraction = 0.0
        self.window: list[dict[str, Tensor]] = []  # losses of the steps since the last row
        self.window_start = (0, time.monotonic())
        self.rate = 0.0
        self.losses: dict[str, float] = {}
        self.warned: set[str] = set()
        self.record: Record | None = None

    # -- start -----------------------------------------------------------------------------------------------

    def prepare(self, resume: bool) -> None:
        """Moves the parts to the device, creates the optimizer, and loads the newest checkpoint if `resume`."""
        newest = checkpoints.latest(self.folder)
        if newest is not None and not resume:
            raise UsageError(f"{self.folder} already has a run ({newest.name}): add --resume, or choose another --out.")
        if self.main:
            _create(self.folder)
        for module in self.recipe.modules.values():
            module.to(self.device)
        if isinstance(self.recipe, Movable):
            self.recipe.to(self.device)
        distributed.broadcast_weights(self.recipe.modules)
        self.parameters = [p for p in self.recipe.parameters() if p.requires_grad]
        if not self.parameters:
            raise UsageError(f"Recipe {self.recipe.name!r} has nothing to train.")
        self.optimizer: Any = self.accelerator.prepare(_optimizer(self.parameters, self.settings, self.device))
        self.average = Average(self.recipe.modules, self.settings.ema) if self.settings.ema else None
        if newest is not None:
            self._load(newest)
        self.window_start = (self.step, time.monotonic())
        self.accelerator.wait_for_everyone()
        self.record = Record(self.folder, self.step) if self.main else None
        note = self.recipe.note() if isinstance(self.recipe, WithNote) else ""
        self._report("resumed" if newest else "started", path=newest, text=note)

    def _load(self, folder: Path) -> None:
        saved = checkpoints.load(folder)
        if saved.values["recipe"] != self.recipe.name:
            raise UsageError(f"{self.folder} is a run of {saved.values['recipe']!r}, not of {self.recipe.name!r}.")
        before = saved.values["settings"] | saved.values["config"]
        differences = changed(before, self.settings.as_json() | self.config)
        if differences:
            changes = ", ".join(f"{name} was {then}, is now {now}" for name, (then, now) in differences.items())
            raise UsageError(
                f"A resumed run keeps its settings, but {changes}. Leave them out, or choose another --out."
            )
        checkpoints.load_modules(self.recipe.modules, saved.tensors["modules"])
        checkpoints.load_optimizer(self.optimizer, saved.tensors["optimizer"])
        if self.average is not None:
            self.average.load(saved.tensors["ema"])
        if isinstance(self.recipe, Stateful):
            self.recipe.load_state(saved.tensors["recipe"])
        if self.accelerator.scaler is not None and saved.values.get("scaler"):
            self.accelerator.scaler.load_state_dict(saved.values["scaler"])
        self.step = saved.step
        self.seconds_before = saved.values["seconds"]
        self.losses = saved.values["losses"]
        self.window = [{k: torch.tensor(v) for k, v in row.items()} for row in saved.values["window"]]

    # -- the loop --------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Steps until the end, a signal, or a loss that is not a number."""
        if self.step == 0 and self.settings.preview_every:
            self._preview()
        s = self.settings
        end = None if s.steps is None else s.steps * s.accumulate
        batches = feed.batches(self._batch, self.step * s.accumulate, s.prefetch, end)
        try:
            while not self._is_over():
                self._train_step(batches)
                self._log_save_preview()
        finally:
            batches.close()
        if self.window and not self.interrupted:
            self._log()
        if self.step % s.save_every or self.step == 0:
            self._save()
        if s.preview_every and self.step % s.preview_every and not self.interrupted:
            self._preview()

    def _train_step(self, batches: Iterator[Batch]) -> None:
        s = self.settings
        factor = lr_factor(s, self.step, self.fraction)
        for group in self.optimizer.param_groups:
            group["lr"] = s.lr * factor
        self.recipe.progress = self.fraction  # type: ignore[attr-defined]
        for module in self.recipe.modules.values():
            module.train()
        sums: dict[str, Tensor] = {}
        for part in range(s.accumulate):
            _seed(step_seed(s.seed, self.accelerator.process_index, self.step * s.accumulate + part, _LOOP_STREAM))
            batch = to_device(next(batches), self.device)  # outside autocast, as in the background thread
            with self.accelerator.autocast():
                losses = self.recipe.step(batch)
            total = torch.stack([v.float() for k, v in losses.items() if not k.startswith("_")]).sum()
            self.accelerator.backward(total / s.accumulate)
            for name, value in (losses | {"loss": total}).items():
                sums[name] = sums.get(name, 0) + value.detach().float() / s.accumulate
        distributed.average_gradients(self.parameters)
        if s.clip:
            sums["gradient_norm"] = self.accelerator.clip_grad_norm_(self.parameters, s.clip).float()  # type: ignore
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.average is not None:
            self.average.update(self.step)
        self.window.append(sums)

    def _log_save_preview(self) -> None:
        s = self.settings
        if self.step % s.log_every == 0:
            self._log()
        if self.step % s.save_every == 0:
            self._save()
        if s.preview_every and self.step % s.preview_every == 0:
            self._preview()

    def _batch(self, index: int) -> Batch:
        return self.recipe.batch(index, self.accelerator.process_index)

    def _is_over(self) -> bool:
        """Whether to stop, the same in every process; sets `fraction`, the finished share of the run."""
        s = self.settings
        now, signalled = distributed.largest((self._seconds(), float(self.signalled)), self.device)
        shares = [self.step / s.steps] if s.steps is not None else []
        shares += [now / s.seconds] if s.seconds is not None else []
        self.fraction = min(1.0, max(shares))
        self.interrupted = bool(signalled) and self.fraction < 1
        return self.fraction >= 1 or self.interrupted

    # -- log, save, preview ------------------------------------------------------------------------------------

    def _check(self) -> None:
        """EveError where a loss since the last row is not finite; the weights are unusable from there on."""
        for back, row in enumerate(reversed(self.window)):
            # not the gradient norm, since the fp16 scaler handles infinite ones; nor measurements
            losses = {k: v for k, v in row.items() if k != "gradient_norm" and not k.startswith("_")}
            bad = [k for k, v in losses.items() if not bool(torch.isfinite(v))]
            if bad:
                last = checkpoints.latest(self.folder)
                good = f"The last good checkpoint is {last}" if last else "There is no checkpoint yet"
                raise EveError(
                    f"Training stopped: {', '.join(sorted(bad))} was not a finite number at step {self.step - back}. "
                    f"{good}. Try a lower --lr or --precision no."
                )

    def _log(self) -> None:
        self._share_window()
        self._check()
        names = dict.fromkeys(name for row in self.window for name in row)
        self.losses = {n: float(torch.stack([row[n] for row in self.window if n in row]).mean()) for n in names}
        before, then = self.window_start
        samples = self.settings.batch * self.settings.accumulate * self.accelerator.num_processes
        self.rate = (self.step - before) * samples / max(1e-9, time.monotonic() - then)
        self.window, self.window_start = [], (self.step, time.monotonic())
        lr = float(self.optimizer.param_groups[0]["lr"])
        if self.record is not None:
            clock = {"seconds": round(self._seconds(), 3), "samples_per_second": round(self.rate, 2)}
            self.record.row(self.step, self.losses | {"lr": lr} | clock)
        self._report("progress")
        for text in self.recipe.warnings(self.losses) if isinstance(self.recipe, WithWarnings) else []:
            if text not in self.warned:
                self.warned.add(text)
                self._report("warning", text=text)

    def _share_window(self) -> None:
        """The window's losses on the CPU, averaged over the processes; every process must have the same names."""
        if not self.window:
            return
        table = torch.stack([value.to(self.device) for row in self.window for value in row.values()])
        values = iter(distributed.mean(table).cpu())
        self.window = [{name: next(values) for name in row} for row in self.window]

    def _save(self) -> Path | None:
        self._share_window()
        self._check()
        path = None
        if self.main:
            path = checkpoints.save(self.folder, self._checkpoint(), self.settings.keep)
        self.accelerator.wait_for_everyone()
        self._report("saved", path=path)
        return path

    def _checkpoint(self) -> Checkpoint:
        tensors = {
            "modules": checkpoints.module_tensors(self.recipe.modules),
            "optimizer": checkpoints.optimizer_tensors(self.optimizer),
        }
        if self.average is not None:
            tensors["ema"] = self.average.tensors
        if isinstance(self.recipe, Stateful):
            tensors["recipe"] = self.recipe.state()
        scaler = self.accelerator.scaler
        return Checkpoint(
            tensors,
            {
                "recipe": self.recipe.name,
                "step": self.step,
                "seconds": self._seconds(),
                "losses": self.losses,
                "settings": self.settings.as_json(),
                "config": self.config,
                "window": [{k: float(v) for k, v in row.items()} for row in self.window],
                "scaler": scaler.state_dict() if scaler is not None else None,
            },
        )

    def _preview(self) -> None:
        if self.main and self.record is not None:
            with self._evaluating():
                _seed(step_seed(self.settings.seed, 0, 0, _LOOP_STREAM))
                picture = self.recipe.preview(self.step)
            if picture is not None:
                self._report("preview", path=self.record.picture(self.step, picture))
        self.accelerator.wait_for_everyone()

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Averaged weights, no dropout, no gradients."""
        for module in self.recipe.modules.values():
            module.eval()
        with torch.no_grad(), self.accelerator.autocast():
            if self.average is None:
                yield
            else:
                with self.average.applied():
                    yield

    # -- finish -------------------------------------------------------------------------------------------------

    def finish(self) -> Outcome:
        """Loads the averaged weights into the modules; closes the record."""
        if self.average is not None:
            self.average.apply()
        for module in self.recipe.modules.values():
            module.eval()
        if self.record is not None:
            self.record.close()
        self._report("interrupted" if self.interrupted else "done")
        last = checkpoints.latest(self.folder)
        assert last is not None
        return Outcome(self.step, self._seconds(), self.losses, last, self.interrupted, self.main)

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def _remaining(self) -> float | None:
        s = self.settings
        remaining = [s.seconds - self._seconds()] if s.seconds is not None else []
        if s.steps is not None and self.rate:
            samples = s.batch * s.accumulate * self.accelerator.num_processes
            remaining.append((s.steps - self.step) * samples / self.rate)
        return max(0.0, min(remaining)) if remaining else None

    def _report(self, kind: str, path: Path | None = None, text: str = "") -> None:
        lr = float(self.optimizer.param_groups[0]["lr"])
        remaining = self._remaining()
        self.on_event(
            Event(
                kind, self.step, self._seconds(), self.fraction, remaining, dict(self.losses), self.rate, lr, path, text
            )
        )


def _accelerator(settings: LoopSettings) -> Accelerator:
    """The accelerate object of a run; UsageError where the device does not support the precision."""
    cpu = settings.device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if cpu and settings.precision == "fp16":
        raise UsageError("--precision fp16 needs a GPU; on this device use bf16 or no.")
    if AcceleratorState().initialized if AcceleratorState._shared_state else False:
        AcceleratorState._reset_state(reset_partial_state=False)  # an earlier run may have had another precision
    return Accelerator(mixed_precision=_precision(settings.precision, cpu), cpu=cpu)


def _precision(precision: str, cpu: bool) -> str:
    """The mixed precision of a run; `auto` is bf16 where the device computes in it, else fp16 on a GPU, else none."""
    if precision != "auto":
        return precision
    if cpu:
        supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return "bf16" if supported is not None and supported() else "no"
    if not torch.cuda.is_available():
        return "no"
    return "bf16" if half(torch.device("cuda")) is torch.bfloat16 else "fp16"


def _optimizer(parameters: list[nn.Parameter], settings: LoopSettings, device: torch.device) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},  # biases and norms
    ]
    groups = [g for g in groups if g["params"]]
    return torch.optim.AdamW(groups, lr=settings.lr, fused=device.type in ("cpu", "cuda"))


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.manual_seed(seed)


def _create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot create the folder {folder}: {error}.") from error


@contextmanager
def _stop_on_signal(loop: _Loop) -> Iterator[None]:
    """The first Ctrl-C (or TERM, or HUP) ends the run after the current step; the second ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    if before[signal.SIGHUP] is signal.SIG_IGN:  # nohup
        del before[signal.SIGHUP]

    def stop(number: int, frame: Any) -> None:
        loop.signalled = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
