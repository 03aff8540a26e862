"""The options of `eve generate`, `eve subject` and `eve animate`. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eve_cli.editing.request import check_name
from eve_cli.errors import OutputError, UsageError
from eve_cli.media import codecs
from eve_cli.settings import setting
from eve_cli.storage.paths import expanded

CAMERAS = ("still", "zoom-in", "zoom-out", "pan-left", "pan-right", "tilt-up", "tilt-down", "orbit-left", "orbit-right")
TOKEN = re.compile(r"<[^<>\s]+>")


@dataclass(frozen=True)
class GenerationSettings:
    """Options that all three commands share."""

    output: Path | None = setting(
        None,
        "Where the video goes (default: a new name here).",
        flags=("--output", "-o"),
        metavar="FILE",
        panel="Result",
    )
    overwrite: bool = setting(False, "Replace the result if it exists.", flags=("--overwrite",), panel="Result")
    fps: float = setting(8.0, "Frames a second.", min=0.1, panel="Result")
    codec: str = setting("h264", f"Video codec: {', '.join(codecs.CODECS)}.", panel="Result")
    seed: int | None = setting(None, "Same seed, same result (default: random).", metavar="N", min=0, panel="Video")
    model: str = setting("mini", "A model's name, or its folder.", flags=("--model", "-m"), panel="Video")
    guidance_scale: float | None = setting(
        None, "How strongly to follow the prompt (default: the model's).", metavar="X", min=0, panel="Video"
    )
    device: str = setting("auto", "auto, cpu, cuda, mps.", panel="Machine")
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = setting("auto", "Number format of the model.", panel="Machine")
    offline: bool = setting(False, "Never download anything.", flags=("--offline",), panel="Machine")
    format: Literal["text", "json"] = setting("text", "What to print on stdout.", panel="Machine")
    quiet: bool = setting(False, "Print nothing but the result and errors.", flags=("--quiet", "-q"), panel="Machine")

    def check(self, prompt: str) -> None:
        """UsageError or OutputError for what is wrong whatever the command is."""
        if not prompt.strip():
            raise UsageError("The prompt is empty; say what the video shows.")
        if self.codec not in codecs.CODECS:
            raise UsageError(f"--codec {self.codec} is unknown; use one of: {', '.join(codecs.CODECS)}.")
        if self.output is not None:
            codecs.choose(str(self.output), self.codec)

    def target(self, prompt: str) -> Path:
        """Where the video goes; OutputError if it cannot."""
        slug = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:40].strip("-") or "video"
        path = expanded(self.output or f"{slug}{codecs.CODECS[self.codec].types[0]}")
        check_name(path)
        if not path.parent.is_dir():
            raise OutputError(f"{path.parent}: this folder does not exist; make it first or choose another --output.")
        if path.exists() and not self.overwrite:
            raise OutputError(f"{path}: exists already; choose another --output or give --overwrite.")
        return path


@dataclass(frozen=True, kw_only=True)
class GenerateRequest(GenerationSettings):
    """Generate a video from a prompt."""

    prompt: str = setting(help='What the video shows, like "a red car in the desert".', argument=True, metavar="PROMPT")
    frames: int | None = setting(None, "How many (default: the model's).", metavar="N", min=2, panel="Video")
    steps: int = setting(20, "Denoising steps.", metavar="N", min=1, max=1000, panel="Video")

    def __post_init__(self) -> None:
        self.check(self.prompt)


@dataclass(frozen=True, kw_only=True)
class SubjectRequest(GenerationSettings):
    """Generate a video of a subject that three to ten pictures show."""

    images: list[Path] = setting(
        help="Pictures of the subject, or one folder of them.", argument=True, metavar="IMAGES..."
    )
    prompt: str = setting(
        help='What the video shows, with a token for the subject: "<toy> on a beach".', argument=True, metavar="PROMPT"
    )
    frames: int | None = setting(None, "How many (default: the model's).", metavar="N", min=2, panel="Video")
    steps: int = setting(20, "Denoising steps.", metavar="N", min=1, max=1000, panel="Video")
    tune_steps: int = setting(300, "Fine-tuning steps on the subject.", metavar="N", min=1, panel="Video")
    tune_lr: float = setting(1e-3, "Learning rate of these steps.", min=0.0, panel="Video")

    def __post_init__(self) -> None:
        self.check(self.prompt)
        if len(TOKEN.findall(self.prompt)) != 1:
            raise UsageError(
                f"The prompt {self.prompt!r} needs one token for the subject in angle brackets, like <toy>."
            )

    @property
    def token(self) -> str:
        """The token that stands for the subject."""
        return TOKEN.findall(self.prompt)[0]


@dataclass(frozen=True, kw_only=True)
class AnimateRequest(GenerationSettings):
    """Generate a video from a picture: a camera path over it, edited by Dreamix to match the prompt."""

    image: str = setting(help="The picture.", argument=True, metavar="IMAGE")
    prompt: str = setting(help="What the video shows.", argument=True, metavar="PROMPT")
    camera: str = setting("still", f"{', '.join(CAMERAS)}, or a file PATH.json.", panel="Video")
    frames: int = setting(16, "How many.", metavar="N", min=2, panel="Video")
    steps: int | None = setting(
        None, "Denoising steps (default: the model's).", metavar="N", min=1, max=1000, panel="Video"
    )
    strength: float = setting(0.7, "Share of the noise to start from.", min=0.01, max=1.0, panel="Video")
    tune_steps: int = setting(60, "Fine-tuning steps on the picture; 0 for none.", min=0, panel="Video")
    size: Literal["source", "model"] = setting(
        "source", "Size of the result: as the picture, or as the model made it.", panel="Result"
    )

    def __post_init__(self) -> None:
        self.check(self.prompt)
        if self.camera not in CAMERAS and not self.camera.endswith(".json"):
            raise UsageError(f"--camera {self.camera} is unknown; use {', '.join(CAMERAS)}, or a file PATH.json.")
