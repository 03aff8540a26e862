"""What a training run can be told: plain dataclasses, light to import (no torch)."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from eve_cli.errors import UsageError
from eve_cli.settings import setting

PRECISIONS = ("no", "bf16", "fp16")
FREE_TO_CHANGE = ("steps", "minutes", "save_every", "preview_every", "log_every", "keep", "prefetch", "device")


@dataclass(frozen=True)
class LoopSettings:
    """How long, how fast and how often; the same for every recipe."""

    steps: int | None = setting(None, "Stop after this many optimizer steps.")
    minutes: float | None = setting(None, "Stop after this many minutes, previews and saving included.")
    batch: int = setting(32, "Samples in one step of one process.")
    accumulate: int = setting(1, "Batches whose gradients are summed for one step.")
    lr: float = setting(1e-3, "Learning rate after the warm-up.")
    warmup: int = setting(60, "Steps over which the learning rate rises.")
    decay_fraction: float = setting(0.3, "Last share of the run over which the learning rate falls to zero.")
    weight_decay: float = setting(0.0, "AdamW weight decay of matrices and kernels.")
    clip: float = setting(1.0, "Largest norm of the gradient; 0 turns clipping off.")
    ema: float = setting(0.999, "Decay of the moving average of the weights; 0 turns it off.")
    seed: int = setting(0, "Seed of batches, noise and dropout.")
    precision: str = setting("bf16", "Mixed precision: no, bf16 or fp16.")
    save_every: int = setting(500, "Steps between checkpoints.")
    preview_every: int = setting(500, "Steps between preview pictures; 0 turns them off.")
    log_every: int = setting(10, "Steps between rows of the record.")
    keep: int = setting(2, "Newest checkpoints that are kept.")
    prefetch: int = setting(2, "Batches drawn ahead in the background; 0 draws in line.")
    device: str = setting("auto", "auto, or cpu to leave a GPU alone.")

    def __post_init__(self) -> None:
        for wrong, reason in _mistakes(self):
            if wrong:
                raise UsageError(reason)

    @property
    def seconds(self) -> float | None:
        """The time limit in seconds."""
        return None if self.minutes is None else self.minutes * 60

    def as_json(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self)


def _mistakes(s: LoopSettings) -> list[tuple[bool, str]]:
    return [
        (s.steps is None and s.minutes is None, "A training run needs an end: give --steps or --minutes."),
        (s.steps is not None and s.steps < 1, f"--steps must be 1 or more, not {s.steps}."),
        (s.minutes is not None and s.minutes <= 0, f"--minutes must be above 0, not {s.minutes}."),
        (
            s.batch < 1 or s.accumulate < 1,
            f"--batch and --accumulate must be 1 or more, not {s.batch}, {s.accumulate}.",
        ),
        (s.lr <= 0, f"--lr must be above 0, not {s.lr}."),
        (not 0 <= s.decay_fraction <= 1, f"--decay-fraction must lie in 0-1, not {s.decay_fraction}."),
        (not 0 <= s.ema < 1, f"--ema must be at least 0 and below 1, not {s.ema}."),
        (s.precision not in PRECISIONS, f"--precision must be one of {', '.join(PRECISIONS)}, not {s.precision!r}."),
        (s.save_every < 1 or s.log_every < 1 or s.keep < 1, "--save-every, --log-every and --keep must be 1 or more."),
        (s.preview_every < 0 or s.prefetch < 0, "--preview-every and --prefetch must be 0 or more."),
        (s.device not in ("auto", "cpu"), f"--device must be auto or cpu, not {s.device!r}."),
    ]


def changed(before: dict[str, Any], now: LoopSettings) -> dict[str, tuple[Any, Any]]:
    """The settings that a resumed run may not change, by name: (then, now)."""
    after = now.as_json()
    names = [f.name for f in fields(now) if f.name not in FREE_TO_CHANGE]
    return {n: (before[n], after[n]) for n in names if n in before and before[n] != after[n]}
