"""Settings of `eve align`, light to import (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from eve_cli.errors import UsageError
from eve_cli.settings import setting
from eve_cli.training.settings import MORE, TrainSettings

ErrorComponent = Literal["all", "mean", "change"]
Weighting = Literal["alpha", "dreamfusion", "uniform"]
GeneratorLoss = Literal["linear", "paper"]
Layers = Literal["attention", "attention+mlp", "all"]
TEACHERS_PANEL = "Teachers (flags may be repeated)"


@dataclass(frozen=True)
class TeacherSettings:
    """What may be set for one teacher; None takes the recipe's value."""

    weight: float | None = setting(
        None,
        "Weight of a teacher's losses (alpha and beta in EVE).",
        metavar="TEACHER=NUMBER",
        panel=TEACHERS_PANEL,
    )
    t_range: tuple[float, float] | None = setting(
        None,
        "Range of a teacher's timesteps, as shares of all: edit=0.02:0.6.",
        metavar="TEACHER=LOW:HIGH",
        panel=TEACHERS_PANEL,
    )
    guidance: float | None = setting(
        None,
        "Guidance scale of a teacher (default: the model's).",
        metavar="TEACHER=NUMBER",
        panel=TEACHERS_PANEL,
    )
    error_component: ErrorComponent | None = setting(
        None,
        "Component of a teacher's error that counts: all, mean (over the frames) or change (the rest).",
        metavar="TEACHER=COMPONENT",
        panel=TEACHERS_PANEL,
        flags=("--error-component",),
    )

    def __post_init__(self) -> None:
        if self.weight is not None and not self.weight >= 0:
            raise UsageError(f"A teacher's weight must be 0 or more, not {self.weight}.")
        if self.t_range is not None and not 0 <= self.t_range[0] < self.t_range[1] <= 1:
            low, high = self.t_range
            raise UsageError(f"A teacher's t_range must rise within 0-1, not from {low} to {high}.")
        if self.error_component not in (None, "all", "mean", "change"):
            raise UsageError(f"A teacher's error_component must be all, mean or change, not {self.error_component!r}.")


@dataclass(frozen=True)
class ResolvedTeacher:
    """The settings of one teacher in a run; a guidance of None is the model's."""

    weight: float = 0.5
    t_range: tuple[float, float] = (0.02, 0.98)
    guidance: float | None = None
    error_component: ErrorComponent = "all"


@dataclass(frozen=True)
class AlignSettings(TrainSettings):
    """Align the adapters of a model by Factorized Diffusion Distillation (EVE, section 3.2).

    A student with both adapters learns from teachers with one adapter each. The data are clips, instructions and
    captions of the result; no edited video is used. The result is the model with an alignment, for `eve edit`.
    """

    recipe: str = setting("mini", "Default settings: mini, paper (as EVE prints them), or lora (for a LoRA teacher).")
    teachers: tuple[str, ...] = setting(
        ("edit", "video"),
        "Teachers: edit, video, lora:FOLDER. May be repeated, or given once with commas.",
        flags=("--teacher", "--teachers"),
        metavar="NAME",
        panel=TEACHERS_PANEL,
    )
    teacher: dict[str, TeacherSettings] = field(default_factory=dict)
    steps: int | None = setting(
        300, "Stop after this many optimizer steps.", flags=("--steps", "--max-steps"), metavar="N"
    )
    batch: int = setting(4, "Clips per step and process.")
    lr: float = setting(5e-4, "Learning rate after the warm-up.")
    warmup: int = setting(10, "Steps over which the learning rate rises.", panel=MORE)
    decay_fraction: float = setting(0.3, "Last share over which the learning rate falls to zero.", panel=MORE)
    ema: float = setting(0.98, "Decay of the moving average of the weights; 0 turns it off.", panel=MORE)
    save_every: int = setting(50, "Steps between checkpoints.", panel=MORE)
    preview_every: int = setting(
        50, "Steps between preview pictures; 0 turns them off.", flags=("--sample-every", "--preview-every")
    )
    data: str = setting("world", "world, or a .jsonl file of inputs (or its folder, if named inputs.jsonl).")
    points: int = setting(448, "Data points (clip, instruction, caption); each is prepared when first used.", min=1)
    frames: int = setting(0, "Frames of a clip; 0 takes the length of the model's windows.", min=0)
    student_steps: int = setting(3, "Sampling steps of the student (k in EVE).", min=1)
    rank: int = setting(16, "Rank of the low-rank layers.", min=1)
    layers: Layers = setting("all", "Layers that get low-rank layers: attention, attention+mlp or all.")
    distillation: Literal["sds", "dmd"] = setting(
        "sds", "Loss from a teacher's score: sds, or dmd (with a model of the student's score)."
    )
    distillation_weight: float = setting(2.5, "Weight of the distillation loss (lambda in EVE); 0 omits it.", min=0.0)
    on_policy_weight: float = setting(
        1.0, "Weight of matching the teachers that read the source, at the student's own noisy latents.", min=0.0
    )
    contrast_weight: float = setting(
        0.01, "Weight of matching the contrast per channel of the teachers' samples.", panel=MORE, min=0.0
    )
    student_score_weight: float = setting(
        0.0,
        "Share of the student's score subtracted from the teachers', against blur (0-1).",
        panel=MORE,
        min=0.0,
        max=1.0,
    )
    balance: Literal["losses", "gradients"] = setting(
        "losses",
        "Meaning of --distillation-weight over --adversarial-weight: factors of the losses, or the ratio of the norms "
        "of their gradients at the clip.",
        panel=MORE,
    )
    adversarial_weight: float = setting(0.1, "Weight of the student's adversarial losses.", min=0.0)
    adversarial_start: float = setting(
        0.3, "Share of the run after which adversarial losses begin; 1 omits discriminators.", min=0.0, max=1.0
    )
    features: str = setting("latents", "Input of the discriminators: latents, backbone or dino:FOLDER.", panel=MORE)
    timestep_sampling: Literal["k-bin", "trailing", "uniform"] = setting(
        "k-bin", "The student's timesteps: k-bin, trailing (fixed) or uniform.", panel=MORE
    )
    random_first_timestep: bool = setting(
        False, "Draw the first timestep from its bin too, as printed in EVE.", panel=MORE
    )
    one_step_gradient: bool = setting(
        True, "Backpropagate through one random sampling step, not through all.", panel=MORE
    )
    timestep_weighting: Weighting = setting(
        "alpha", "c(t) of the distillation: alpha, dreamfusion or uniform.", panel=MORE
    )
    normalise_score: bool = setting(True, "Divide each sample's score by its mean size.", panel=MORE)
    caption_share: float = setting(
        0.2,
        "Share of samples in which the student reads the caption instead of the instruction.",
        panel=MORE,
        min=0.0,
        max=1.0,
    )
    task_share: float = setting(
        0.3, "Share of samples in which the student gets the task label.", panel=MORE, min=0.0, max=1.0
    )
    teacher_steps: int = setting(10, "Sampling steps of the teachers.", panel=MORE, min=1)
    discriminator_frames: int = setting(3, "Frames of a clip that the frame discriminator reads.", panel=MORE, min=1)
    discriminator_lr: float = setting(1e-3, "Learning rate of the discriminators.", panel=MORE)
    discriminator_steps: int = setting(3, "Discriminator steps per step of the student.", panel=MORE, min=1)
    discriminator_warmup: float = setting(
        0.3, "Share of the run in which discriminators train before adversarial losses begin.", panel=MORE
    )
    r1_weight: float = setting(1e-5, "Weight of the discriminators' R1 gradient penalty.", panel=MORE)
    generator_loss: GeneratorLoss = setting(
        "linear", "The student's adversarial loss: linear, or paper (no gradient below the margin).", panel=MORE
    )
    fake_score_lr: float = setting(1e-3, "Learning rate of the models of the student's score (dmd).", panel=MORE)
    fake_score_steps: int = setting(1, "Their steps per step of the student (dmd).", panel=MORE, min=1)
    from_scratch: bool = setting(False, "Start from new low-rank layers, not from the model's alignment.")
    random_init: bool = setting(False, "Ablation: start from untrained adapters, and train them too.", panel=MORE)
    gradient_checkpointing: bool = setting(
        False, "Keep the activations of one sampling step at a time (slower).", panel=MORE
    )
    cache: Path | None = setting(None, "Folder of prepared points (default: runs/points).", panel=MORE, metavar="DIR")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.recipe not in ALIGN_RECIPES:
            raise UsageError(f"--recipe must be one of {', '.join(ALIGN_RECIPES)}, not {self.recipe!r}.")
        if not self.teachers:
            raise UsageError("--teachers is empty: name one or more, such as edit,video.")
        if len(set(self.teachers)) < len(self.teachers):
            raise UsageError(f"--teachers names a teacher twice: {', '.join(self.teachers)}.")
        for name in self.teacher:
            if name not in self.teacher_kinds:
                close = get_close_matches(name, self.teacher_kinds, n=1)
                raise UsageError(
                    f"Settings name the teacher {name!r}, which is not in this run; "
                    f"known are: {', '.join(self.teacher_kinds)}.{f' Did you mean {close[0]}?' if close else ''}"
                )
        weights = (self.distillation_weight, self.on_policy_weight, self.contrast_weight)
        if not any(weights) and self.adversarial_start == 1:
            raise UsageError(
                "No loss is left: --distillation-weight, --on-policy-weight and --contrast-weight are 0 "
                "and --adversarial-start is 1."
            )

    @property
    def teacher_kinds(self) -> tuple[str, ...]:
        """The teachers without folders: `lora` for `lora:FOLDER`. Settings of a teacher go by these names."""
        return tuple(name.partition(":")[0] for name in self.teachers)

    @property
    def needs_samples(self) -> bool:
        """Whether any loss needs the teachers' samples."""
        return self.adversarial_start < 1 or self.contrast_weight > 0

    def resolved_teacher(self, kind: str) -> ResolvedTeacher:
        """The settings of a teacher: those given for it, else the recipe's, else the defaults of `ResolvedTeacher`."""
        overrides = asdict(self.teacher.get(kind, TeacherSettings()))
        recipe = RECIPE_TEACHERS[self.recipe].get(kind, ResolvedTeacher())
        return replace(recipe, **{name: value for name, value in overrides.items() if value is not None})


ALIGN_RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "mini": {},
        "paper": {
            "steps": 1500,
            "batch": 1,
            "global_batch": 64,
            "lr": 1e-5,
            "warmup": 1,
            "decay_fraction": 0.0,
            "ema": 0.0,
            "rank": 64,
            "frames": 8,
            "points": 11200,
            "adversarial_weight": 1.0,
            "balance": "gradients",
            "adversarial_start": 1000 / 1500,
            "discriminator_warmup": 0.0,
            "discriminator_lr": 1e-4,
            "random_first_timestep": True,
            "normalise_score": False,
            "caption_share": 1.0,
            "task_share": 1.0,
            "teacher_steps": 25,
            "discriminator_frames": 8,
            "generator_loss": "paper",
            "gradient_checkpointing": True,
            "on_policy_weight": 0.0,
            "one_step_gradient": False,
            "layers": "attention+mlp",
            "features": "backbone",
            "discriminator_steps": 1,
            "contrast_weight": 0.0,
        },
        "lora": {"steps": 80, "points": 128, "on_policy_weight": 0.0, "contrast_weight": 0.0},
    }
)
"""Default values of `AlignSettings` in each recipe; the command line and TOML files win over them.

`paper` is EVE, sections 3.2, 3.3 and 4 (k, weights, lambda, steps, batch, rate); what it leaves open is chosen here.
It sums losses over places where these are means, so its lambda is a ratio of gradients here: as a factor of losses it
leaves score distillation a share of .01 to .03 as soon as discriminators judge.
"""

RECIPE_TEACHERS: Mapping[str, Mapping[str, ResolvedTeacher]] = MappingProxyType(
    {
        "mini": {
            "edit": ResolvedTeacher(weight=0.9, t_range=(0.02, 0.6)),
            "video": ResolvedTeacher(weight=0.1, t_range=(0.02, 0.3), error_component="change"),
        },
        "paper": {},
        "lora": {
            "edit": ResolvedTeacher(weight=0.1, t_range=(0.02, 0.2)),
            "lora": ResolvedTeacher(weight=0.9, t_range=(0.3, 0.8), guidance=3.0),
        },
    }
)
"""The teachers' settings in each recipe.

In `lora` the edit adapter, which does not know the token, scores at low noise, where outlines are decided, and the
LoRA, with guidance on its token, at high noise, where colours and shapes are.
"""


def align_recipe(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The defaults of the recipe among chosen settings; without one, `lora` if there is a LoRA teacher, else `mini`."""
    with_lora = any(str(name).startswith("lora:") for name in settings.get("teachers", ()))
    name = settings.get("recipe") or ("lora" if with_lora else "mini")
    return {"recipe": name, **ALIGN_RECIPES.get(name, {})}
