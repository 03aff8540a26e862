"""A model is parts: what each one is, and what holds for all of them together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from eve_cli.diffusion.schedule import Schedule

if TYPE_CHECKING:
    from diffusers import ControlNetModel, SparseControlNetModel, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    from eve_cli.models.adapters import VideoAdapter
    from eve_cli.models.codec import Codec

TASKS = ("add", "remove", "background", "texture", "local", "style", "global", "segment", "sketch", "depth", "mark")
"""Names of the edit adapter's task labels; a label's number is its place here."""
UNKNOWN_TASK = len(TASKS)


def task_labels(names: Sequence[str | None]) -> Tensor:
    """The label numbers (n,) of tasks; a name that is none of `TASKS` is the label for "unknown"."""
    return torch.tensor([TASKS.index(name) if name in TASKS else UNKNOWN_TASK for name in names])


EditText = Literal["split", "instruction", "caption"]
Hint = Literal["latents", "pixels"]
Long = Literal["chain", "together"]
FirstFrameForm = Literal["repeat", "zero_pad", "sparse"]
Canvas = Literal["square", "aspect"]
MOST_ASPECT = 2.5  # wider sources are squeezed


@dataclass(frozen=True)
class BundleSettings:
    """What the weights alone do not say; stored in a bundle's bundle.json."""

    name: str = "mini"
    pixels: int = 64
    """Height and width of the frames that the model was trained on."""
    canvas: Canvas = "square"
    """Whether frames of other shapes are squeezed into a square, or keep their aspect at about as many pixels."""
    frames: int = 8
    """Frames in the windows that the video adapter was trained on."""
    latent_mean: tuple[float, ...] = ()
    """Mean of the codec's own latents per channel; with `latent_std` it makes those that the other parts work in."""
    latent_std: tuple[float, ...] = ()
    text_tokens: int = 32
    steps: int = 10
    text_cfg: float = 2.0
    video_cfg: float = 1.0
    hint: Hint = "latents"
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
    image_text_cfg: float | None = None
    """Guidance on the texts of lone frames, where clips take another."""
    keep: bool = False
    """Whether edits keep of the source what the edit adapter leaves alone in one step from pure noise; this needs a
    schedule that ends there, and an adapter that knows what to do without an instruction: copy."""
    long: Long = "together"
    """How clips longer than a window are edited: window by window, or with all windows denoised together."""
    words: tuple[str, ...] = ()
    """The words the model was taught; empty if it was taught a whole language."""

    def __post_init__(self) -> None:
        for name, choices in (
            ("hint", Hint),
            ("edit_text", EditText),
            ("first_frame", FirstFrameForm),
            ("long", Long),
            ("canvas", Canvas),
        ):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} is {getattr(self, name)!r}; known are {', '.join(get_args(choices))}.")

    def frame_size(self, width: int, height: int, unit: int) -> tuple[int, int]:
        """(width, height) at which frames of a size go through the model, multiples of `unit` where they keep their
        aspect; the distortion that this leaves is a few percent."""
        if self.canvas == "square":
            return self.pixels, self.pixels
        aspect = min(max(width / height, 1 / MOST_ASPECT), MOST_ASPECT)

        def cost(size: tuple[int, int]) -> float:
            area = size[0] * size[1] / self.pixels**2
            return abs(math.log(size[0] / size[1] / aspect)) + 0.05 * abs(math.log(area))

        sides, least, most = range(unit, 2 * self.pixels + 1, unit), 0.95 * self.pixels**2, 1.35 * self.pixels**2
        return min(((w, h) for w in sides for h in sides if least <= w * h <= most), key=cost)


@dataclass
class Parts:
    """The parts of one model; an adapter that a bundle lacks is None."""

    codec: Codec
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
        for name in ("codec", "text_encoder", "backbone", "edit", "instruction_encoder", "video", "sparse"):
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
