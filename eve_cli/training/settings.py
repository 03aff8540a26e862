"""Settings of training runs: plain dataclasses, light to import (no torch)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from eve_cli.errors import UsageError
from eve_cli.settings import check_choices, setting

Settings = TypeVar("Settings", bound="LoopSettings")
MORE = "Advanced"  # a panel of --help
RUN_LENGTH = ("steps", "minutes", "save_every", "preview_every", "log_every", "keep", "prefetch", "device")
MACHINE = ("model", "data", "photos", "images", "out", "cache", "resume", "threads", "quiet", "dry_run")
FREE_TO_CHANGE = RUN_LENGTH + MACHINE
"""Settings that may change when a run is resumed: its length, and paths and behaviour on this machine."""


@dataclass(frozen=True)
class LoopSettings:
    """Settings of the training loop, the same for every recipe."""

    steps: int | None = setting(None, "Stop after this many optimizer steps.")
    minutes: float | None = setting(None, "Stop after this many minutes, previews and saving included.")
    batch: int = setting(32, "Samples per step and process.")
    accumulate: int = setting(1, "Batches whose gradients are averaged for one step.", panel=MORE)
    global_batch: int = setting(
        0, "Samples per step of all processes; sets --accumulate (default: batch x accumulate x processes).", min=0
    )
    lr: float = setting(1e-3, "Learning rate after the warm-up.")
    warmup: int = setting(60, "Steps over which the learning rate rises.", panel=MORE)
    decay_fraction: float = setting(
        0.3, "Last share of the run over which the learning rate falls to zero.", panel=MORE
    )
    weight_decay: float = setting(0.0, "AdamW weight decay of matrices and kernels.", panel=MORE)
    clip: float = setting(1.0, "Largest norm of the gradient; 0 turns clipping off.", panel=MORE)
    ema: float = setting(0.999, "Decay of the moving average of the weights; 0 turns it off.", panel=MORE)
    seed: int = setting(0, "Seed of batches, noise and dropout.")
    precision: Literal["auto", "no", "bf16", "fp16"] = setting(
        "auto", "Mixed precision: auto (bf16 where the device computes in it), no, bf16 or fp16."
    )
    save_every: int = setting(500, "Steps between checkpoints.", panel=MORE)
    preview_every: int = setting(
        500, "Steps between preview pictures; 0 turns them off.", flags=("--sample-every", "--preview-every")
    )
    log_every: int = setting(10, "Steps between rows of records.jsonl.", panel=MORE)
    keep: int = setting(2, "Number of newest checkpoints to keep.", panel=MORE)
    prefetch: int = setting(2, "Batches prepared ahead in a background thread; 0 turns it off.", panel=MORE)
    device: Literal["auto", "cpu"] = setting("auto", "auto (a GPU if there is one) or cpu.", panel=MORE)

    def __post_init__(self) -> None:
        check_choices(self)
        for wrong, reason in _mistakes(self):
            if wrong:
                raise UsageError(reason)

    @property
    def seconds(self) -> float | None:
        """The time limit in seconds."""
        return None if self.minutes is None else self.minutes * 60

    def for_processes(self: Settings, count: int) -> Settings:
        """The same settings with the `accumulate` that gives the global batch with `count` processes.

        UsageError if the global batch is no multiple of what the processes compute at once.
        """
        at_once = self.batch * count
        if not self.global_batch:
            return self
        if self.global_batch % at_once:
            processes = f" x {count} processes" if count > 1 else ""
            raise UsageError(
                f"--global-batch {self.global_batch} is no multiple of --batch {self.batch}{processes} = {at_once}: "
                "choose another --batch."
            )
        return replace(self, accumulate=self.global_batch // at_once)

    def as_json(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class TrainSettings(LoopSettings):
    """Settings of `eve train`: those of the loop, the model to start from, the data, and the run's folder."""

    model: str = setting(
        "mini", "Model to start from: a name, a folder, or `new` for an untrained small one.", flags=("--model", "-m")
    )
    out: Path | None = setting(None, "Folder of the run (default: runs/PART).", flags=("--out", "-o"), metavar="DIR")
    data: str = setting("world", "world, a folder with captions, or a .jsonl file of triplets.")
    photos: Path | None = setting(None, "Folder of photographs to mix into the world.", metavar="DIR")
    photo_share: float = setting(0.2, "Share of photographs, where there are some.", min=0.0, max=1.0)
    pixels: int = setting(0, "Side of the training frames, stored in the model (default: the model's).", min=0)
    resume: bool = setting(False, "Resume the run in --out with its settings.")
    threads: int = setting(0, "CPU threads; 0 takes all.", min=0)
    quiet: bool = setting(False, "Print only the result and errors.", flags=("--quiet", "-q"))
    dry_run: bool = setting(False, "Estimate memory and work of a step from shapes alone, and stop.")

    def loop(self) -> LoopSettings:
        """The loop's part of the settings."""
        return LoopSettings(**{f.name: getattr(self, f.name) for f in fields(LoopSettings)})

    def options(self) -> dict[str, Any]:
        """Keyword arguments of the recipe beside its parts, source, batch and seed."""
        return {}

    def data_summary(self) -> str:
        """A one-line description of the data."""
        return self.data + (f" · {self.photo_share:.0%} photographs of {self.photos}" if self.photos else "")


@dataclass(frozen=True)
class VaeSettings(TrainSettings):
    """Train the VAE. All other parts must be trained again afterwards."""

    lr: float = setting(1.5e-3, "Learning rate after the warm-up.")
    ema: float = setting(0.995, "Decay of the moving average of the weights; 0 turns it off.", panel=MORE)


@dataclass(frozen=True)
class DecoderSettings(VaeSettings):
    """Train the VAE's decoder alone. Latents do not change, so all other parts stay valid."""


@dataclass(frozen=True)
class BackboneSettings(TrainSettings):
    """Train the text-to-image backbone and its text encoder. The adapters build on it."""


@dataclass(frozen=True)
class AdapterSettings(TrainSettings):
    """Settings of both adapters."""

    gradient_checkpointing: bool = setting(False, "Compute activations twice, to save memory (slower).", panel=MORE)


@dataclass(frozen=True)
class EditSettings(AdapterSettings):
    """Train the edit adapter: from a picture and an instruction to the edited picture."""

    lr: float = setting(8e-4, "Learning rate after the warm-up.")


@dataclass(frozen=True)
class JointSettings(TrainSettings):
    """Train the backbone and the edit adapter together. A video adapter must be trained again afterwards."""

    text_share: float = setting(
        1.0, "Captioned pictures in a batch, relative to its edits.", panel=MORE, min=0.05, max=1.0
    )
    wide: bool = setting(
        False, "A third of the edits are of 16:9 photographs; the model then keeps the aspect of a source.", panel=MORE
    )

    def options(self) -> dict[str, Any]:
        return {"text_share": self.text_share}


@dataclass(frozen=True)
class VideoSettings(AdapterSettings):
    """Train the video adapter: from a text and a first frame to a clip."""

    batch: int = setting(8, "Clips per step and process.")
    lr: float = setting(5e-4, "Learning rate after the warm-up.")


@dataclass(frozen=True)
class EncodersSettings(TrainSettings):
    """Train the encoders that score edits of the world: a small CLIP and a small ViCLIP with a model's vocabulary.

    They are saved in the run's folder with their retrieval accuracy per attribute on held-out clips.
    """

    batch: int = setting(48, "Clips per step and process, in pairs.")
    ema: float = setting(0.995, "Decay of the moving average of the weights; 0 turns it off.", panel=MORE)
    weight_decay: float = setting(0.02, "AdamW weight decay of matrices and kernels.", panel=MORE)
    preview_every: int = setting(
        0,
        "Steps between preview pictures; this recipe has none.",
        flags=("--sample-every", "--preview-every"),
        panel=MORE,
    )


@dataclass(frozen=True)
class LoraSettings(TrainSettings):
    """Train a LoRA for a subject or a style from a few pictures, for `eve edit --lora`.

    The model does not change. The result is a folder that diffusers' `load_lora_weights` reads too.
    """

    images: Path | None = setting(
        None,
        "Folder of 8 to 16 pictures (required); NAME.txt may hold the caption of NAME.png.",
        metavar="DIR",
    )
    token: str = setting("", "Trigger word (required), such as `<toy>`; added to captions that lack it.")
    kind: Literal["subject", "style"] = setting("subject", "What the pictures have in common: subject or style.")
    rank: int = setting(8, "Rank of the low-rank layers.", min=1)
    prior: float = setting(0.0, "Share of each batch from --data, for prior preservation.", min=0.0, max=0.9)
    steps: int | None = setting(300, "Stop after this many optimizer steps.")
    batch: int = setting(8, "Samples per step and process.")
    lr: float = setting(1e-3, "Learning rate after the warm-up.")
    warmup: int = setting(20, "Steps over which the learning rate rises.", panel=MORE)
    ema: float = setting(0.0, "Decay of the moving average of the weights; 0 turns it off.", panel=MORE)
    preview_every: int = setting(
        100, "Steps between preview pictures; 0 turns them off.", flags=("--sample-every", "--preview-every")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume:
            return
        if self.images is None:
            raise UsageError("A LoRA needs pictures: give their folder with --images.")
        if not self.token.strip():
            raise UsageError('A LoRA needs a trigger word: give one with --token, such as "<toy>".')
        if self.model == "new":
            raise UsageError("A LoRA needs a trained model, and `new` is none: give --model a name or a folder.")

    def options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("images", "token", "kind", "rank", "prior", "model")}

    def data_summary(self) -> str:
        prior = f" · {self.prior:.0%} {super().data_summary()}" if self.prior else ""
        return f"{self.images} as {self.token}{prior}"


SETTINGS: dict[str, type[TrainSettings]] = {
    "vae": VaeSettings,
    "decoder": DecoderSettings,
    "backbone": BackboneSettings,
    "edit": EditSettings,
    "joint": JointSettings,
    "video": VideoSettings,
    "encoders": EncodersSettings,
    "lora": LoraSettings,
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
        (s.save_every < 1 or s.log_every < 1 or s.keep < 1, "--save-every, --log-every and --keep must be 1 or more."),
        (s.preview_every < 0 or s.prefetch < 0, "--preview-every and --prefetch must be 0 or more."),
    ]


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings with other values now that a resumed run may not change, by name: (then, now)."""
    free = {*FREE_TO_CHANGE, *(("batch", "accumulate") if now.get("global_batch") else ())}
    names = [name for name in now if name in before and name not in free]
    return {name: (before[name], now[name]) for name in names if before[name] != now[name]}
