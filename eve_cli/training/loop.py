"""The one training loop: every recipe runs through it."""

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
from torch import Tensor, nn

from eve_cli.errors import EveError, OutputError, UsageError
from eve_cli.training import checkpoint as checkpoints
from eve_cli.training import distributed, feed
from eve_cli.training.checkpoint import Checkpoint
from eve_cli.training.ema import Average
from eve_cli.training.recipe import Batch, Movable, Recipe, Stateful, Watchful, step_seed, to_device
from eve_cli.training.record import Record
from eve_cli.training.settings import LoopSettings, changed

_LOOP_STREAM = 0x10  # of step_seed: what the recipe's step draws from the global generator


@dataclass(frozen=True)
class Event:
    """What the loop tells its caller: started, resumed, progress, warning, saved, preview, done or interrupted."""

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
    """Trains until `settings` says so; afterwards the recipe's modules hold the averaged weights.

    `folder` receives checkpoints, record and previews. With `resume` the newest checkpoint there is continued,
    giving the same losses as a run that was never stopped; without one, training starts anew.
    EveError where a loss is no longer a number; Ctrl-C saves, and the outcome says `interrupted`.
    """
    torch.set_flush_denormal(True)
    loop = _Loop(recipe, settings, folder, on_event or (lambda event: None), config or {})
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
        self.accelerator = distributed.accelerator(settings)
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
        """Moves the parts to the device, makes the optimizer, and loads the newest checkpoint if asked."""
        found = checkpoints.latest(self.folder)
        if found is not None and not resume:
            raise UsageError(
                f"{self.folder} holds a run already ({found.name}): add --resume, or choose another --out."
            )
        if self.main:
            _make(self.folder)
        for module in self.recipe.modules.values():
            module.to(self.device)
        if isinstance(self.recipe, Movable):
            self.recipe.to(self.device)
        distributed.share_start(self.recipe.modules)
        self.parameters = [p for p in self.recipe.parameters() if p.requires_grad]
        if not self.parameters:
            raise UsageError(f"Recipe {self.recipe.name!r} has nothing to train.")
        self.optimizer: Any = self.accelerator.prepare(_optimizer(self.parameters, self.settings, self.device))
        self.average = Average(self.recipe.modules, self.settings.ema) if self.settings.ema else None
        if found is not None:
            self._load(found)
        self.window_start = (self.step, time.monotonic())
        self.accelerator.wait_for_everyone()
        self.record = Record(self.folder, self.step) if self.main else None
        self._tell("resumed" if found else "started", path=found)

    def _load(self, found: Path) -> None:
        saved = checkpoints.load(found)
        other = changed(saved.values["settings"], self.settings)
        if saved.values["recipe"] != self.recipe.name:
            raise UsageError(f"{self.folder} holds a run of {saved.values['recipe']!r}, not of {self.recipe.name!r}.")
        if other:
            words = ", ".join(f"{name} was {then}, is now {now}" for name, (then, now) in other.items())
            raise UsageError(f"A resumed run keeps its settings, but {words}. Leave them out, or choose another --out.")
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
        drawn = feed.batches(self._draw, self.step * self.settings.accumulate, self.settings.prefetch)
        try:
            while not self._over():
                self._one_step(drawn)
                self._regular_duties()
        finally:
            drawn.close()
        s = self.settings
        if self.window and not self.interrupted:
            self._log()
        if self.step % s.save_every or self.step == 0:
            self._save()
        if s.preview_every and self.step % s.preview_every and not self.interrupted:
            self._preview()

    def _one_step(self, drawn: Iterator[Batch]) -> None:
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
            batch = to_device(next(drawn), self.device)  # drawn in full precision, in line as well as ahead
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

    def _regular_duties(self) -> None:
        s = self.settings
        if self.step % s.log_every == 0:
            self._log()
        if self.step % s.save_every == 0:
            self._save()
        if s.preview_every and self.step % s.preview_every == 0:
            self._preview()

    def _draw(self, index: int) -> Batch:
        return self.recipe.batch(index, self.accelerator.process_index)

    def _over(self) -> bool:
        """Whether to stop, the same in every process; sets `fraction`, the share of the run that is done."""
        s = self.settings
        now, signalled = distributed.largest((self._seconds(), float(self.signalled)), self.device)
        shares = [self.step / s.steps] if s.steps is not None else []
        shares += [now / s.seconds] if s.seconds is not None else []
        self.fraction = min(1.0, max(shares))
        self.interrupted = bool(signalled) and self.fraction < 1
        return self.fraction >= 1 or self.interrupted

    # -- duties ----------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """EveError where a loss since the last row is not a number; the weights are bad from there on."""
        for back, row in enumerate(reversed(self.window)):
            # not the gradient's norm: under fp16 an infinite one is the scaler's business; nor mere measurements
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
        self._tell("progress")
        for text in self.recipe.warnings(self.losses) if isinstance(self.recipe, Watchful) else []:
            if text not in self.warned:  # once is enough
                self.warned.add(text)
                self._tell("warning", text=text)

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
        self._tell("saved", path=path)
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
                self._tell("preview", path=self.record.picture(self.step, picture))
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

    # -- end -------------------------------------------------------------------------------------------------

    def finish(self) -> Outcome:
        """Puts the averaged weights into the modules."""
        if self.average is not None:
            self.average.put()
        for module in self.recipe.modules.values():
            module.eval()
        if self.record is not None:
            self.record.close()
        self._tell("interrupted" if self.interrupted else "done")
        last = checkpoints.latest(self.folder)
        assert last is not None
        return Outcome(self.step, self._seconds(), self.losses, last, self.interrupted, self.main)

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def _remaining(self) -> float | None:
        s = self.settings
        left = [s.seconds - self._seconds()] if s.seconds is not None else []
        if s.steps is not None and self.rate:
            samples = s.batch * s.accumulate * self.accelerator.num_processes
            left.append((s.steps - self.step) * samples / self.rate)
        return max(0.0, min(left)) if left else None

    def _tell(self, kind: str, path: Path | None = None, text: str = "") -> None:
        lr = float(self.optimizer.param_groups[0]["lr"])
        left = self._remaining()
        self.on_event(
            Event(kind, self.step, self._seconds(), self.fraction, left, dict(self.losses), self.rate, lr, path, text)
        )


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


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the folder {folder}: {error}.") from error


@contextmanager
def _stop_on_signal(loop: _Loop) -> Iterator[None]:
    """The first Ctrl-C (or TERM) ends the run after the step in hand; the second ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: Any) -> None:
        loop.signalled = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
