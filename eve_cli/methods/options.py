"""The options that each editing method has of its own. Light to import: no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from eve_cli.errors import UsageError
from eve_cli.settings import setting

if TYPE_CHECKING:
    from typing import Self

    from eve_cli.models.config import BundleSettings


@dataclass(frozen=True)
class MethodOptions:
    """Options of one method, each a `setting(...)` with a default.

    A value that is invalid by itself is a UsageError of `__post_init__`.
    """

    def check(
        self, method: str, instruction: str, caption: str | None, *, steps: int | None, window: int | None
    ) -> None:
        """UsageError where these options do not fit the other settings of an edit; called before anything is loaded."""

    def check_picture(self, method: str, path: str) -> None:
        """UsageError if the method cannot edit a single picture."""

    def texts(self, instruction: str, caption: str | None) -> tuple[str, ...]:
        """The texts that the model reads."""
        return (instruction, caption) if caption else (instruction,)

    def resolved(self, model: str) -> Self:
        """The same options without open values; `model` is the model's name."""
        return self

    def resolved_caption(self, instruction: str, caption: str | None) -> str | None:
        """The caption of the result, where the method derives it from other text."""
        return caption

    def defaults(self, model: BundleSettings) -> dict[str, Any]:
        """Defaults of steps, guidance scales and window length for this method on a model."""
        return {
            "steps": model.steps,
            "guidance_scale": model.guidance_scale,
            "image_guidance_scale": model.image_guidance_scale,
            "window": model.frames,
        }


@dataclass(frozen=True)
class VideoOnly(MethodOptions):
    """Options of a method that makes the frames of a video alike, and so has nothing to do for a picture."""

    def check_picture(self, method: str, path: str) -> None:
        """UsageError."""
        raise UsageError(
            f"--method {method} makes the frames of a video alike, and {path} is a picture: choose another method."
        )


@dataclass(frozen=True)
class CaptionedOptions(MethodOptions):
    """Options of a method that compares two captions: of the source, and of the result."""

    source_caption: str | None = setting(None, "What the source shows, in words.", metavar="TEXT")

    def check(
        self, method: str, instruction: str, caption: str | None, *, steps: int | None, window: int | None
    ) -> None:
        """UsageError unless both captions are given or can be derived."""
        self.captions(instruction, caption, f"--method {method}")

    def texts(self, instruction: str, caption: str | None) -> tuple[str, ...]:
        return self.captions(instruction, caption)

    def resolved_caption(self, instruction: str, caption: str | None) -> str | None:
        return self.captions(instruction, caption)[1]

    def captions(self, instruction: str, caption: str | None = None, who: str = "This method") -> tuple[str, str]:
        """The captions of source and result: `caption`, or else what the world's grammar derives from the source's
        caption and the instruction; UsageError that says which flag to add where it cannot."""
        from eve_cli.data.world.reading import edited_caption

        if self.source_caption is None or not self.source_caption.strip():
            raise UsageError(f"{who} compares two captions; give --source-caption TEXT that describes the source.")
        target = caption or edited_caption(self.source_caption, instruction)
        if target is None:
            raise UsageError(
                f"{who} cannot tell what {self.source_caption!r} becomes by {instruction!r}; give --caption TEXT that "
                "describes the result."
            )
        return self.source_caption, target


@dataclass(frozen=True)
class InversionOptions(MethodOptions):
    """How the source is inverted to noise: with its caption if one is given, else unconditionally."""

    source_caption: str | None = setting(None, "What the source shows, in words.", metavar="TEXT")
    corrections: int = setting(
        1, "Fixed-point corrections of each inversion step; more keeps more of the source.", min=0, metavar="N"
    )

    def check(
        self, method: str, instruction: str, caption: str | None, *, steps: int | None, window: int | None
    ) -> None:
        """UsageError for a single step, which cannot be inverted."""
        need_several_steps(method, steps)

    def texts(self, instruction: str, caption: str | None) -> tuple[str, ...]:
        return self.captions(instruction, caption)

    def resolved_caption(self, instruction: str, caption: str | None) -> str | None:
        target = self.captions(instruction, caption)[1]
        return target if target != instruction else caption

    def defaults(self, model: BundleSettings) -> dict[str, Any]:
        """50 steps and guidance of 7.5, as in the papers; for `mini` the best values of docs/experiments.md."""
        values = {"steps": 20, "guidance_scale": 2.0} if model.name == "mini" else {"steps": 50, "guidance_scale": 7.5}
        return super().defaults(model) | values

    def captions(self, instruction: str, caption: str | None = None) -> tuple[str, str]:
        """The captions of source and result: `caption`, else what the world's grammar derives from the source's caption
        and the instruction, else the instruction."""
        from eve_cli.data.world.reading import edited_caption

        target = edited_caption(self.source_caption, instruction) if self.source_caption and not caption else None
        return self.source_caption or "", caption or target or instruction


def need_several_steps(method: str, steps: int | None) -> None:
    """UsageError for a single step."""
    if steps == 1:
        raise UsageError(f"--method {method} inverts the source step by step; give --steps 2 or more.")


@dataclass(frozen=True)
class PerFrameOptions(MethodOptions):
    """How frames are edited one by one."""

    shared_noise: bool = setting(False, "The same noise for every frame.")


@dataclass(frozen=True)
class SDEditOptions(MethodOptions):
    """How much noise is added to the source."""

    strength: float = setting(0.75, "The share of the noise to start from.", min=0.01, max=1.0)


PATH = 20.0
"""Learning rate times updates: 0.1 times 200 in the paper of ASSD and in DDS's own code."""
FASTEST = 0.4
"""Learning rate where there are few updates: beyond it they smear more than they edit."""


@dataclass(frozen=True)
class DDSOptions(CaptionedOptions):
    """How latents are optimised; `--steps` is the number of updates."""

    rate: float | None = setting(
        None,
        f"Learning rate of the updates, whose number is --steps (default: {PATH:g} / steps, at most {FASTEST:g}, or "
        f"{FASTEST / 2:g} where --joint adds a gradient).",
        metavar="X",
        min=0,
    )

    def defaults(self, model: BundleSettings) -> dict[str, Any]:
        """The papers' 200 updates and guidance of 7.5; for `mini` the best values of docs/experiments.md."""
        values = {"steps": 25, "guidance_scale": 4.0} if model.name == "mini" else {"steps": 200, "guidance_scale": 7.5}
        return super().defaults(model) | values

    @property
    def fastest(self) -> float:
        """The highest learning rate that is chosen by default."""
        return FASTEST

    def rate_of(self, updates: int) -> float:
        """The learning rate for a number of updates."""
        return min(PATH / updates, self.fastest) if self.rate is None else self.rate


@dataclass(frozen=True)
class ASSDOptions(DDSOptions):
    """The parts of Adaptive Sliding Score Distillation, each of which can be left out."""

    sliding: Literal["error", "noise", "off"] = setting(
        "error",
        "Smooth over three frames the model's error on the source, or as in the paper its predicted noise.",
    )
    mask: Literal["text", "printed", "off"] = setting(
        "text", "Where to smooth: as in the paper's text, as in its formula (printed), or everywhere (off)."
    )
    tau: float = setting(0.3, "Size of the mask, as a share of the largest change.", min=0.0, max=1.0)
    fusion: float = setting(
        0.5, "Attention of the edit to itself; the rest is to the source, and 1 leaves this out.", min=0.0, max=1.0
    )
    fusion_layers: int = setting(3, "The last self-attention layers in which attention is shared.", min=0)
    joint: float = setting(1.0, "Weight of the backbone's own score, frame by frame; 0 leaves it out.", min=0.0)

    @property
    def fastest(self) -> float:
        """Lower where two gradients are added."""
        return super().fastest / (1 + self.joint)

    def __post_init__(self) -> None:
        if self.mask != "text" and self.sliding == "off":
            raise UsageError(f"--mask {self.mask} selects where to smooth: it does not go with --sliding off.")


DreamixPreset = Literal["motion", "background", "style", "object", "video", "frames"]


class DreamixPresetValues(NamedTuple):
    """What goes well together: noise to start from, weight of the clip against its frames, steps of fine-tuning."""

    strength: float
    alpha: float
    tune_steps: int


MIXED, UNTUNED = DreamixPresetValues(0.95, 0.35, 100), DreamixPresetValues(0.7, 0.35, 0)
# Molad et al. 2023, table 1 and appendix A; there all weights are trained, at a rate of 6e-6, in 200 to 300 steps where
# they are mixed, 64 for the clip alone and 50 to 150 for frames alone. Low-rank layers take a higher rate and fewer.
PRESETS: dict[DreamixPreset, DreamixPresetValues] = {
    "motion": MIXED,
    "background": MIXED,
    "style": UNTUNED,
    "object": UNTUNED,
    "video": DreamixPresetValues(0.95, 1.0, 40),
    "frames": DreamixPresetValues(0.95, 0.0, 60),
}
DEFAULT_PRESET: DreamixPreset = "motion"
"""The paper edits everything by it where it compares itself with others."""
MINI_PRESET: DreamixPreset = "object"
"""Better for `mini` in edits of all kinds (docs/experiments.md)."""


@dataclass(frozen=True)
class DreamixOptions(MethodOptions):
    """How much of the source is kept, and how the model is fine-tuned on it before."""

    preset: DreamixPreset | None = setting(
        None,
        "What to edit, which sets the options below where they are not given "
        f"(default: {DEFAULT_PRESET}; {MINI_PRESET} for mini).",
    )
    strength: float | None = setting(
        None, "Share of the noise to start from (default: the preset's).", min=0.01, max=1.0
    )
    alpha: float | None = setting(
        None, "Weight of the clip in motion against its frames (default: the preset's).", min=0.0, max=1.0
    )
    tune_steps: int | None = setting(
        None, "Steps of fine-tuning on the clip; 0 for none (default: the preset's).", min=0
    )
    tune_lr: float = setting(3e-4, "Learning rate of these steps.", min=0.0)
    coarse: int = setting(1, "Downsample the source by this factor first, and upsample it again.", min=1, metavar="N")
    every: int = setting(1, "Edit every Nth frame, and interpolate the others afterwards.", min=1, metavar="N")

    def check(
        self, method: str, instruction: str, caption: str | None, *, steps: int | None, window: int | None
    ) -> None:
        """UsageError where a window would hold fewer than two frames that are edited."""
        if self.every > 1 and window is not None and window <= self.every:
            raise UsageError(f"--every {self.every} leaves one frame of --window {window}; make that larger.")

    @property
    def combination(self) -> DreamixPresetValues:
        """The preset's values, replaced by those given explicitly."""
        names = DreamixPresetValues._fields
        explicit = {name: value for name in names if (value := getattr(self, name)) is not None}
        return PRESETS[self.preset or DEFAULT_PRESET]._replace(**explicit)

    def resolved(self, model: str) -> DreamixOptions:
        preset = self.preset or (MINI_PRESET if model == "mini" else DEFAULT_PRESET)
        with_preset = replace(self, preset=preset)
        return replace(with_preset, **with_preset.combination._asdict())

    def defaults(self, model: BundleSettings) -> dict[str, Any]:
        """The paper's 64 steps without guidance; for `mini` the best values of docs/experiments.md."""
        values = {"steps": 10, "guidance_scale": 2.0} if model.name == "mini" else {"steps": 64}
        return super().defaults(model) | values | {"window": model.frames * self.every}


@dataclass(frozen=True)
class PnPOptions(InversionOptions):
    """For how long the source's attention and features are injected (Tumanyan et al. 2023)."""

    share_attention: float = setting(
        0.5, "Share of the steps, from the first on, with the source's self-attention.", min=0.0, max=1.0
    )
    share_features: float = setting(
        0.8, "Share of the steps, from the first on, with the source's features.", min=0.0, max=1.0
    )


@dataclass(frozen=True)
class TokenFlowOptions(PnPOptions, VideoOnly):
    """Plug-and-play, and how many frames follow a keyframe."""

    stride: int = setting(4, "One of so many frames is a keyframe, another one at each step.", min=1, metavar="N")


@dataclass(frozen=True)
class TuneAVideoOptions(CaptionedOptions, VideoOnly):
    """How the model is fine-tuned on the clip with its caption, and how the clip is inverted."""

    tune_steps: int = setting(60, "Steps of fine-tuning on the clip; 0 for none.", min=0)
    tune_lr: float = setting(3e-4, "Learning rate of these steps.", min=0.0)
    corrections: int = setting(1, "Fixed-point corrections of each inversion step.", min=0, metavar="N")

    def check(
        self, method: str, instruction: str, caption: str | None, *, steps: int | None, window: int | None
    ) -> None:
        """UsageError for a single step, or without captions."""
        need_several_steps(method, steps)
        super().check(method, instruction, caption, steps=steps, window=window)

    def defaults(self, model: BundleSettings) -> dict[str, Any]:
        """50 steps and guidance of 12.5, as the reference; for `mini` as the other methods that invert."""
        values = {"steps": 20, "guidance_scale": 2.0} if model.name == "mini" else {"steps": 50, "guidance_scale": 12.5}
        return super().defaults(model) | values


@dataclass(frozen=True)
class FairyOptions(VideoOnly):
    """What all frames attend to."""

    anchors: int = setting(3, "Frames, evenly over the shot, that all others attend to.", min=1, metavar="N")


@dataclass(frozen=True)
class RaveOptions(VideoOnly):
    """How frames are put together."""

    grid: int = setting(2, "Frames side by side, and rows of them, in a picture.", min=1, max=8, metavar="N")
