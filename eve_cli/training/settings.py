"""What a training run can be told: plain dataclasses, light to import (no torch)."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from eve_cli.errors import UsageError
from eve_cli.settings import setting

PRECISIONS = ("auto", "no", "bf16", "fp16")
MORE = "How it learns"  # the panel of --help that holds what few people change
FREE_TO_CHANGE = ("steps", "minutes", "save_every", "preview_every", "log_every", "keep", "prefetch", "device")


@dataclass(frozen=True)
class LoopSettings:
    """How long, how fast and how often; the same for every recipe."""

    steps: int | None = setting(None, "Stop after this many optimizer steps.")
    minutes: float | None = setting(None, "Stop after this many minutes, previews and saving included.")
    batch: int = setting(32, "Samples in one step of one process.")
    accumulate: int = setting(1, "Batches whose gradients are summed for one step.", panel=MORE)
    lr: float = setting(1e-3, "Learning rate after the warm-up.")
    warmup: int = setting(60, "Steps over which the learning rate rises.", panel=MORE)
    decay_fraction: float = setting(
        0.3, "Last share of the run over which the learning rate falls to zero.", panel=MORE
    )
    weight_decay: float = setting(0.0, "AdamW weight decay of matrices and kernels.", panel=MORE)
    clip: float = setting(1.0, "Largest norm of the gradient; 0 turns clipping off.", panel=MORE)
    ema: float = setting(0.999, "Decay of the moving average of the weights; 0 turns it off.", panel=MORE)
    seed: int = setting(0, "Seed of batches, noise and dropout.")
    precision: str = setting("auto", "Mixed precision: auto (bf16 where it is quick), no, bf16 or fp16.")
    save_every: int = setting(500, "Steps between checkpoints.", panel=MORE)
    preview_every: int = setting(
        500, "Steps between preview pictures; 0 turns them off.", flags=("--sample-every", "--preview-every")
    )
    log_every: int = setting(10, "Steps between rows of the record.", panel=MORE)
    keep: int = setting(2, "Newest checkpoints that are kept.", panel=MORE)
    prefetch: int = setting(2, "Batches drawn ahead in the background; 0 draws in line.", panel=MORE)
    device: str = setting("auto", "auto, or cpu to leave a GPU alone.", panel=MORE)

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


@dataclass(frozen=True)
class TrainSettings(LoopSettings):
    """What `eve train` can be told: the loop's settings, what to start from, what to learn from, where to write."""

    model: str = setting(
        "mini", "Model to start from: a name, a folder, or `new` for an untrained small one.", flags=("--model", "-m")
    )
    out: Path | None = setting(None, "Folder of the run (default: runs/PART).", flags=("--out", "-o"), metavar="DIR")
    data: str = setting("world", "world, a folder with captions, or a .jsonl file of triplets.")
    photos: Path | None = setting(None, "Folder of photographs to mix into the world.", metavar="DIR")
    photo_share: float = setting(0.2, "Share of photographs, where there are some.", min=0.0, max=1.0)
    resume: bool = setting(False, "Go on with the run in --out; settings that are not given stay as they were.")
    threads: int = setting(0, "CPU threads; 0 takes all.", min=0)
    quiet: bool = setting(False, "Print nothing but the result and errors.", flags=("--quiet", "-q"))

    def loop(self) -> LoopSettings:
        """The loop's part of the settings."""
        return LoopSettings(**{f.name: getattr(self, f.name) for f in fields(LoopSettings)})


@dataclass(frozen=True)
class CodecSettings(TrainSettings):
    """Train the codec, which turns pictures into latents and back. All other parts must be trained again after it."""

    lr: float = setting(1.5e-3, "Learning rate after the warm-up.")
    ema: float = setting(0.995, "Decay of the moving average of the weights; 0 turns it off.", panel=MORE)


@dataclass(frozen=True)
class DecoderSettings(CodecSettings):
    """Train the codec's decoder alone; the latents stay, so all other parts stay valid."""


@dataclass(frozen=True)
class BackboneSettings(TrainSettings):
    """Train the backbone, which makes pictures from text, and its text encoder. The adapters build on it."""


@dataclass(frozen=True)
class EditSettings(TrainSettings):
    """Train the edit adapter: from a picture and an instruction to the edited picture."""

    lr: float = setting(8e-4, "Learning rate after the warm-up.")


@dataclass(frozen=True)
class VideoSettings(TrainSettings):
    """Train the video adapter: from a text and a first frame to a clip."""

    batch: int = setting(8, "Clips in one step of one process.")
    lr: float = setting(5e-4, "Learning rate after the warm-up.")


SETTINGS: dict[str, type[TrainSettings]] = {
    "codec": CodecSettings,
    "decoder": DecoderSettings,
    "backbone": BackboneSettings,
    "edit": EditSettings,
    "video": VideoSettings,
}


def _mistakes(s: LoopSettings) -> list[tuple[bool, str]]:
    return [
        (
            s.steps is None and s.minutes is None and not getattr(s, "resume", False),
            "A training run needs an end: give --steps or --minutes.",
        ),
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
