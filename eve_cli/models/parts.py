"""A model is parts: what each one is, and what holds for all of them together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from eve_cli.diffusion.schedule import Schedule
from eve_cli.models.spec import TASKS

if TYPE_CHECKING:
    from diffusers import ControlNetModel, SparseControlNetModel, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    from eve_cli.models.adapters import VideoAdapter
    from eve_cli.models.vae import Vae

UNKNOWN_TASK = len(TASKS)


def task_labels(names: Sequence[str | None]) -> Tensor:
    """The label numbers (n,) of tasks; a name that is none of `TASKS` is the label for "unknown"."""
    return torch.tensor([TASKS.index(name) if name in TASKS else UNKNOWN_TASK for name in names])


EditText = Literal["split", "instruction", "caption"]
ControlImage = Literal["latents", "pixels"]
Long = Literal["sequential", "joint"]
FirstFrameForm = Literal["repeat", "zero_pad", "sparse"]


@dataclass(frozen=True)
class BundleSettings:
    """What the weights alone do not say; stored in a bundle's bundle.json."""

    name: str = "mini"
    pixels: int = 64
    """Height and width of the frames that the model was trained on."""
    frames: int = 8
    """Frames in the windows that the video adapter was trained on."""
    latent_mean: tuple[float, ...] = ()
    """Mean of the vae's own latents per channel; with `latent_std` it makes those that the other parts work in."""
    latent_std: tuple[float, ...] = ()
    text_tokens: int = 32
    steps: int = 10
    guidance_scale: float = 2.0
    image_guidance_scale: float = 1.0
    control_image: ControlImage = "latents"
    """What the edit adapter is shown of the source: its latents or its pixels."""
    edit_text: EditText = "split"
    """Who reads what: `split` gives the instruction to the edit adapter and the caption to the backbone, the other two
    give both the same. Without a caption the backbone reads the instruction in all three."""
    first_frame: FirstFrameForm = "repeat"
    """Whether the first frame stands behind every frame, or behind frame 0 alone (Emu Video), or is read by a network
    of its own (SparseCtrl, Guo et al. 2023)."""
    domain_scale: float = 1.0
    """How much of the low-rank weights that belong to the video adapter acts in the video model and in the student."""
    image_steps: int = 0
    """Steps in which lone frames are made, where clips take fewer because their model alone was distilled; 0 is as
    many as clips."""
    picture_guidance_scale: float | None = None
    """Guidance on the texts of lone frames, where clips take another."""
    preserve: bool = False
    """Whether edits keep of the source what the edit adapter leaves alone in one step from pure noise; this needs a
    schedule that ends there, and an adapter that knows what to do without an instruction: copy."""
    long: Long = "joint"
    """How clips longer than a window are edited: window by window, or with all windows denoised together."""
    words: tuple[str, ...] = ()
    """The words the model was taught; empty if it was taught a whole language."""

    def __post_init__(self) -> None:
        for name, choices in (
            ("control_image", ControlImage),
            ("edit_text", EditText),
            ("first_frame", FirstFrameForm),
            ("long", Long),
        ):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} is {getattr(self, name)!r}; known are {', '.join(get_args(choices))}.")


@dataclass
class Parts:
    """The parts of one model; an adapter that a bundle lacks is None."""

    vae: Vae
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    backbone: UNet2DConditionModel
    edit: ControlNetModel | None = None
    instruction_encoder: CLIPTextModel | None = None
    video: VideoAdapter | None = None
    sparse: SparseControlNetModel | None = None
    """Reads the first frame where `settings.first_frame` is `sparse`."""
    domain: dict[str, Tensor] | None = None
    """Low-rank weights, by peft's names and with their scale in them, that the video adapter was trained with."""
    align: dict[str, Tensor] | None = None
    """Weights of the low-rank alignment of the student, by peft's names; scale 1 (alpha equals the rank)."""
    schedule: Schedule = field(default_factory=Schedule.zero_snr)
    """Of the video adapter, and so of the student."""
    image_schedule: Schedule | None = None
    """Of the backbone and the edit adapter, where it is another one."""
    settings: BundleSettings = field(default_factory=BundleSettings)

    def modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The parts that hold weights, by field name."""
        for name in ("vae", "text_encoder", "backbone", "edit", "instruction_encoder", "video", "sparse"):
            module = getattr(self, name)
            if module is not None:
                yield name, module

    @property
    def device(self) -> torch.device:
        """Where the backbone is, and with it the rest."""
        return next(self.backbone.parameters()).device

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Token numbers (n, text_tokens); what goes beyond is cut off."""
        return self.tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self.settings.text_tokens,
            return_tensors="pt",
        ).input_ids

    def channels_last(self) -> None:
        """Lays convolutions out as they compute quickest (docs/experiments.md); changes no number."""
        for _, module in self.modules():
            cast(Any, module).to(memory_format=torch.channels_last)

    def freeze(self) -> Parts:
        """Makes every part fixed and ready for use; whoever trains a part thaws it with `requires_grad_(True)`."""
        for _, module in self.modules():
            module.requires_grad_(False).eval()
        return self
