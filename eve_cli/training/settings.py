"""What a training run can be told: plain dataclasses, light to import (no torch)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

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
    pixels: int = setting(0, "Side of the training frames, kept by the model (default: the model's).", min=0)
    resume: bool = setting(False, "Go on with the run in --out; settings that are not given stay as they were.")
    threads: int = setting(0, "CPU threads; 0 takes all.", min=0)
    quiet: bool = setting(False, "Print nothing but the result and errors.", flags=("--quiet", "-q"))
    dry_run: bool = setting(False, "Say what a step would take, from shapes alone, and stop.")

    def loop(self) -> LoopSettings:
        """The loop's part of the settings."""
        return LoopSettings(**{f.name: getattr(self, f.name) for f in fields(LoopSettings)})

    def options(self) -> dict[str, Any]:
        """What the recipe is told beyond its parts, its source, batch and seed."""
        return {}

    def learned_from(self) -> str:
        """The data in words."""
        return self.data + (f" · {self.photo_share:.0%} photographs of {self.photos}" if self.photos else "")


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
class JointSettings(TrainSettings):
    """Train the backbone and the edit adapter together. A video adapter must be trained again after it."""

    text_share: float = setting(
        1.0, "Pictures with captions in a batch, as a share of its edits.", panel=MORE, min=0.05, max=1.0
    )
    wide: bool = setting(
        False, "Take a third of the edits from photographs in 16:9; the model then keeps a source's aspect.", panel=MORE
    )

    def options(self) -> dict[str, Any]:
        return {"text_share": self.text_share}


@dataclass(frozen=True)
class VideoSettings(TrainSettings):
    """Train the video adapter: from a text and a first frame to a clip."""

    batch: int = setting(8, "Clips in one step of one process.")
    lr: float = setting(5e-4, "Learning rate after the warm-up.")


@dataclass(frozen=True)
class EyesSettings(TrainSettings):
    """Train the eyes that judge edits of the world, a small CLIP and a small ViCLIP, with the words of a model.

    They are saved beside the run's record with the share of clips, never seen before, of which each tells an attribute.
    """

    batch: int = setting(48, "Clips in one step of one process, in pairs.")
    ema: float = setting(0.995, "Decay of the moving average of the weights; 0 turns it off.", panel=MORE)
    weight_decay: float = setting(0.02, "AdamW weight decay of matrices and kernels.", panel=MORE)
    preview_every: int = setting(
        0, "Steps between preview pictures; there are none.", flags=("--sample-every", "--preview-every"), panel=MORE
    )


@dataclass(frozen=True)
class LoraSettings(TrainSettings):
    """Train a LoRA: low-rank layers that know a subject or a style, from a few pictures, for `eve edit --lora`.

    The model stays as it is. The result is a folder that diffusers' `load_lora_weights` reads too.
    """

    images: Path | None = setting(
        None, "Folder of 8 to 16 pictures (needed); the caption of NAME.png is in NAME.txt, or made.", metavar="DIR"
    )
    token: str = setting("", "The word that asks for it (needed), such as `<toy>`; captions get it where they lack it.")
    kind: Literal["subject", "style"] = setting("subject", "What the pictures share: a subject or a style.")
    rank: int = setting(8, "Rank of the low-rank layers.", min=1)
    prior: float = setting(
        0.0, "Share of each batch from --data, so that other words keep their meaning.", min=0.0, max=0.9
    )
    steps: int | None = setting(300, "Stop after this many optimizer steps.")
    batch: int = setting(8, "Samples in one step of one process.")
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
            raise UsageError("A LoRA is made of pictures: give their folder with --images.")
        if not self.token.strip():
            raise UsageError('A LoRA needs a word that asks for it: give one with --token, such as "<toy>".')
        if self.model == "new":
            raise UsageError("A LoRA is made for a trained model, and `new` is none: give --model a name or a folder.")

    def options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("images", "token", "kind", "rank", "prior", "model")}

    def learned_from(self) -> str:
        prior = f" · {self.prior:.0%} {super().learned_from()}" if self.prior else ""
        return f"{self.images} as {self.token}{prior}"


@dataclass(frozen=True)
class AlignSettings(TrainSettings):
    """Align the adapters of a model: a student with both learns from teachers that have one each.

    This is Factorized Diffusion Distillation (EVE, section 3.2). No edited video is ever shown: the data are clips,
    instructions and captions of the result. The result is the model with an alignment, which `eve edit` uses.
    """

    recipe: str = setting(
        "mini", "Where the settings start from: mini, lora (where a teacher is one) or paper (as EVE prints them)."
    )
    teachers: str = setting("edit=0.9,video=0.1", "Who judges, each with its weight (alpha and beta).")
    steps: int | None = setting(
        300, "Stop after this many optimizer steps.", flags=("--steps", "--max-steps"), metavar="N"
    )
    batch: int = setting(4, "Clips in one step of one process.")
    lr: float = setting(5e-4, "Learning rate after the warm-up.")
    warmup: int = setting(10, "Steps over which the learning rate rises.", panel=MORE)
    decay_fraction: float = setting(0.3, "Last share over which the learning rate falls to zero.", panel=MORE)
    ema: float = setting(0.98, "Decay of the moving average of the weights; 0 turns it off.", panel=MORE)
    save_every: int = setting(50, "Steps between checkpoints.", panel=MORE)
    preview_every: int = setting(
        50, "Steps between preview pictures; 0 turns them off.", flags=("--sample-every", "--preview-every")
    )
    points: int = setting(448, "Data points that are prepared: clip, instruction, caption.", min=1)
    frames: int = setting(0, "Frames of a clip; 0 is as many as the model's windows have.", min=0)
    k: int = setting(3, "Steps in which the student makes a clip.", min=1)
    rank: int = setting(16, "Rank of the low-rank layers.", min=1)
    layers: Literal["attention", "attention+mlp", "all"] = setting(
        "all", "Where they are: attention, attention+mlp or all."
    )
    distillation: str = setting("sds", "What a teacher's score becomes: sds, or dmd (with a model of the student).")
    distill: float = setting(2.5, "Weight of the distillation (lambda); 0 leaves it out.", min=0.0)
    follow: float = setting(
        1.0, "Weight of following, at each of the student's own steps, the teachers that see the input.", min=0.0
    )
    detail: float = setting(
        0.01, "Weight of having as much contrast, channel by channel, as the teachers' samples.", panel=MORE, min=0.0
    )
    own_score: float = setting(
        0.0,
        "Share of the student's own score that is taken off the teachers', against blur (0-1).",
        panel=MORE,
        min=0.0,
        max=1.0,
    )
    judged: str = setting(
        "video=change", "What a teacher judges: all (where nothing is said), mean (what lasts) or change.", panel=MORE
    )
    adversarial: float = setting(0.1, "Weight of the discriminators' losses.", min=0.0)
    adversarial_from: float = setting(
        0.3, "Share of the run from which discriminators judge; 1 leaves them out.", min=0.0, max=1.0
    )
    features: str = setting("latents", "What discriminators read: latents, backbone or dino:FOLDER.", panel=MORE)
    timesteps: str = setting(
        "bins", "The student's timesteps: bins (k-bin sampling), even (always the same) or any.", panel=MORE
    )
    free_first: bool = setting(False, "Draw the first timestep from its bin too, as printed in EVE.", panel=MORE)
    one_step: bool = setting(True, "Send the gradient through one random step, not all k.", panel=MORE)
    t_range: str = setting("edit=0.02-0.6,video=0.02-0.3", "Range of timesteps at which teachers judge.", panel=MORE)
    guidance: str = setting("", "Teachers' guidance, as edit=2,video=1 (default: the model's own).", panel=MORE)
    weighting: Literal["alpha", "dreamfusion", "uniform"] = setting(
        "alpha", "c(t) of the distillation: alpha, dreamfusion or uniform.", panel=MORE
    )
    normalise: bool = setting(True, "Divide each sample's score by its mean size.", panel=MORE)
    caption_share: float = setting(
        0.2,
        "Share of samples in which the student reads the caption, not the instruction.",
        panel=MORE,
        min=0.0,
        max=1.0,
    )
    task_share: float = setting(
        0.3, "Share of samples in which the student is told the task.", panel=MORE, min=0.0, max=1.0
    )
    teacher_steps: int = setting(10, "Steps in which teachers make their samples.", panel=MORE, min=1)
    looked: int = setting(3, "Frames of a clip that the frame discriminator looks at.", panel=MORE, min=1)
    discriminator_lr: float = setting(1e-3, "Learning rate of the discriminators.", panel=MORE)
    discriminator_steps: int = setting(3, "Steps they learn for each of the student's.", panel=MORE, min=1)
    warm_discriminator: float = setting(0.3, "Share of the run for which they learn before they judge.", panel=MORE)
    r1: float = setting(1e-5, "Weight of the discriminators' gradient penalty.", panel=MORE)
    paper_generator_loss: bool = setting(
        False, "The student's adversarial loss as printed, without gradient where it is rejected.", panel=MORE
    )
    score_lr: float = setting(1e-3, "Learning rate of the models of the student (dmd).", panel=MORE)
    score_steps: int = setting(1, "Steps they learn for each of the student's (dmd).", panel=MORE, min=1)
    anew: bool = setting(False, "Leave out the alignment that the model has; without it, that is trained on.")
    random_init: bool = setting(False, "Ablation: start from untrained adapters, and train them too.", panel=MORE)
    checkpointing: bool = setting(False, "Hold the activations of one step at a time (slower).", panel=MORE)
    cache: Path | None = setting(None, "Folder of prepared points (default: runs/points).", panel=MORE, metavar="DIR")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in (
            ("recipe", tuple(ALIGN_RECIPES)),
            ("layers", ("attention", "attention+mlp", "all")),
            ("distillation", ("sds", "dmd")),
            ("timesteps", ("bins", "even", "any")),
            ("weighting", ("alpha", "dreamfusion", "uniform")),
        ):
            if getattr(self, name) not in choices:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} must be one of {', '.join(choices)}, not {getattr(self, name)!r}.")
        if not (self.distill or self.follow or self.detail or self.adversarial_from < 1):
            raise UsageError(
                "--distill 0, --follow 0, --detail 0 and --adversarial-from 1 leave nothing to learn from."
            )
        _ = self.weights, self.ranges, self.scales, self.parts  # to be told at once what is wrong

    @property
    def samples(self) -> bool:
        """Whether teachers' samples are needed."""
        return self.adversarial_from < 1 or self.detail > 0

    @property
    def weights(self) -> dict[str, float]:
        """The teachers' weights by name; a teacher without one has 0.5, or beside a LoRA what is best there."""
        given = _pairs("--teachers", self.teachers)
        own = {"edit": 0.1, "lora": 0.9} if any(name.startswith("lora:") for name in given) else {}
        return {k: own.get(k.partition(":")[0], 0.5) if v is None else v for k, v in given.items()}

    @property
    def scales(self) -> dict[str, float]:
        """The teachers' guidance, where it was given."""
        return {k: 1.0 if v is None else v for k, v in _pairs("--guidance", self.guidance).items()}

    @property
    def parts(self) -> dict[str, Any]:
        """The part that a teacher judges, by teacher, where it is not all."""
        found = {}
        for item in filter(None, self.judged.split(",")):
            name, _, part = item.strip().partition("=")
            if part not in ("all", "mean", "change"):
                raise UsageError(f"--judged must look like edit=mean,video=change, not {item!r}.")
            found[name] = part
        return found

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The range of timesteps by teacher, as shares of all."""
        found = {}
        for item in filter(None, self.t_range.split(",")):
            name, _, text = item.partition("=")
            try:
                low, high = (float(value) for value in text.split("-"))
            except ValueError:
                raise UsageError(f"--t-range must look like edit=0.02-0.98, not {item!r}.") from None
            if not 0 <= low < high <= 1:
                raise UsageError(f"--t-range of {name} must rise within 0-1, not {text}.")
            found[name.strip()] = (low, high)
        return found


ALIGN_RECIPES: dict[str, dict[str, Any]] = {
    "mini": {},
    "paper": {
        "teachers": "edit=0.5,video=0.5",
        "t_range": "edit=0.02-0.98,video=0.02-0.98",
        "steps": 1500,
        "batch": 1,
        "accumulate": 64,
        "lr": 1e-5,
        "warmup": 1,
        "decay_fraction": 0.0,
        "ema": 0.0,
        "rank": 64,
        "frames": 8,
        "points": 11200,
        "adversarial": 1.0,
        "adversarial_from": 1000 / 1500,
        "warm_discriminator": 0.0,
        "discriminator_lr": 1e-4,
        "free_first": True,
        "normalise": False,
        "caption_share": 1.0,
        "task_share": 1.0,
        "teacher_steps": 25,
        "looked": 8,
        "paper_generator_loss": True,
        "checkpointing": True,
        "follow": 0.0,
        "judged": "",
        "one_step": False,
        "layers": "attention+mlp",
        "features": "backbone",
        "discriminator_steps": 1,
        "detail": 0.0,
    },
    "lora": {
        "t_range": "edit=0.02-0.2,lora=0.3-0.8",
        "guidance": "lora=3",
        "steps": 80,
        "points": 128,
        "follow": 0.0,
        "detail": 0.0,
    },
}
"""Values of `AlignSettings` that a recipe sets; what is given on the command line or in a file wins.

In `lora` the edit adapter, which does not know the token, judges what little noise leaves open, the outlines, and the
LoRA, guided so that it insists on its token, what much noise does, colours and shapes. `paper` is EVE, sections 3.2,
3.3 and 4 (k, weights, lambda, steps, batch, rate); what it leaves open is chosen here.
"""


def align_recipe(chosen: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row of `ALIGN_RECIPES` that was chosen; where none was, `lora` if one is a teacher."""
    name = chosen.get("recipe") or ("lora" if "lora:" in chosen.get("teachers", "") else "mini")
    return {"recipe": name, **ALIGN_RECIPES.get(name, {})}


def _pairs(flag: str, text: str) -> dict[str, float | None]:
    """`a=1,b=2` as a table; a name without a number gives None."""
    found: dict[str, float | None] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = item.rpartition("=") if "=" in item else (item, "", "")
        try:
            number = float(value) if equals else None
        except ValueError:
            raise UsageError(f"{flag} must look like edit=0.5,video=0.5, not {text!r}.") from None
        if number is not None and number < 0:
            raise UsageError(f"{flag}: {name} must be 0 or more, not {value}.")
        if name in found:
            raise UsageError(f"{flag} names {name} twice.")
        found[name] = number
    return found


SETTINGS: dict[str, type[TrainSettings]] = {
    "codec": CodecSettings,
    "decoder": DecoderSettings,
    "backbone": BackboneSettings,
    "edit": EditSettings,
    "joint": JointSettings,
    "video": VideoSettings,
    "eyes": EyesSettings,
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
