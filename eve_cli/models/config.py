"""What a bundle's bundle.json says of a model, and the choices it has there. Imports nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

EditText = Literal["split", "instruction", "caption"]
ControlImage = Literal["latents", "pixels"]
Long = Literal["sequential", "joint"]
FirstFrameForm = Literal["repeat", "zero_pad", "sparse"]
Canvas = Literal["square", "aspect"]
MAX_ASPECT = 2.5
"""The largest ratio of the longer to the shorter side of frames; longer ones are compressed to it."""


@dataclass(frozen=True)
class BundleSettings:
    """What the weights alone do not say; stored in a bundle's bundle.json."""

    name: str = "mini"
    pixels: int = 64
    """Height and width of the frames that the model was trained on."""
    canvas: Canvas = "square"
    """Whether frames of other shapes are resized to a square, or keep their aspect ratio at about as many pixels."""
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
    """The edit adapter's input: the latents of the source, or its pixels."""
    edit_text: EditText = "split"
    """The text of each network: `split` is the instruction for the edit adapter and the caption for the backbone, the
    other two are the same text for both. Without a caption the text of the backbone is the instruction in all three."""
    first_frame: FirstFrameForm = "repeat"
    """Whether the first frame is concatenated to every frame, or to frame 0 alone (Emu Video), or is the input of a
    network of its own (SparseCtrl, Guo et al. 2023)."""
    domain_scale: float = 1.0
    """The scale of the video adapter's low-rank weights in the video model and in the student."""
    image_steps: int = 0
    """Steps for single frames, if clips take fewer because only their model was distilled; 0 is as many as clips."""
    particle_steps: int = 0
    """Steps of the samples from which falling particles are taken (`methods/particles.py`); 0 is none."""
    picture_guidance_scale: float | None = None
    """Guidance scale of the texts for single frames, if it is not that of clips."""
    preserve: bool = False
    """Whether edits preserve what the edit adapter does not change in one step from pure noise; this needs a schedule
    that ends there, and an adapter that was trained to copy if there is no instruction."""
    long: Long = "joint"
    """How clips longer than a window are edited: window by window, or with all windows denoised together."""
    words: tuple[str, ...] = ()
    """The vocabulary of the model; empty if it was trained on free text."""

    def __post_init__(self) -> None:
        for name, choices in (
            ("control_image", ControlImage),
            ("edit_text", EditText),
            ("first_frame", FirstFrameForm),
            ("long", Long),
            ("canvas", Canvas),
        ):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} is {getattr(self, name)!r}; known are {', '.join(get_args(choices))}.")

    def frame_size(self, width: int, height: int, unit: int) -> tuple[int, int]:
        """The (width, height) to which frames of a size are resized for the model; nothing is cut off.

        With `canvas` aspect the sides are multiples of `unit`, which distorts by a few percent.
        """
        if self.canvas == "square":
            return self.pixels, self.pixels
        aspect = min(max(width / height, 1 / MAX_ASPECT), MAX_ASPECT)

        def cost(size: tuple[int, int]) -> float:
            area = size[0] * size[1] / self.pixels**2
            return abs(math.log(size[0] / size[1] / aspect)) + 0.05 * abs(math.log(area))

        sides, least, most = range(unit, 2 * self.pixels + 1, unit), 0.95 * self.pixels**2, 1.35 * self.pixels**2
        return min(((w, h) for w in sides for h in sides if least <= w * h <= most), key=cost)
