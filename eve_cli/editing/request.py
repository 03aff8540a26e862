"""What one edit is asked to do: the options of `eve edit`, and what a run.json keeps of them."""

import dataclasses
import hashlib
import re
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Any, Literal

from eve_cli.errors import OutputError, UsageError
from eve_cli.media import codecs, input_resolver, stills
from eve_cli.methods.option_fields import carries_options, options_of, owners
from eve_cli.methods.options.base import MethodOptions
from eve_cli.methods.registry import METHODS
from eve_cli.models.config import TASKS
from eve_cli.models.spec import ModelSpec
from eve_cli.settings import setting, to_mapping

ADAPTER_METHODS = ("eve", "per_frame", "fairy", "rave")
LONG_METHODS = ("eve", "sdedit")  # those with a view of time
# Settings that do not change a pixel of the result.
SILENT = (
    *("input", "output", "overwrite", "run_dir", "format", "json", "quiet", "no_progress", "offline", "on_oom"),
    *("dry_run", "reuse_preview"),
)


@dataclass(frozen=True)
@carries_options
class EditRequest:
    """Edit a video or a picture by an instruction."""

    input: str = setting(help="Video file, picture, or a folder of images.", argument=True, metavar="INPUT")
    instruction: str = setting(help='What to change, like "make it snowy".', argument=True, metavar="INSTRUCTION")
    output: Path | None = setting(
        None,
        "Where the result goes (default: a new name here).",
        flags=("--output", "-o"),
        metavar="FILE",
        panel="Result",
    )
    overwrite: bool = setting(False, "Replace the result if it exists.", flags=("--overwrite",), panel="Result")
    size: Literal["source", "model"] = setting(
        "source", "Size of the result: as the source, or as the model made it.", panel="Result"
    )
    side_by_side: bool = setting(False, "Put the source next to the result.", flags=("--side-by-side",), panel="Result")
    codec: str = setting("h264", f"Video codec: {', '.join(codecs.CODECS)}.", panel="Result")
    crf: int | None = setting(
        None, "Quality of the codec; smaller is better (default: 16 for h264).", min=0, max=63, panel="Result"
    )
    lossless: bool = setting(
        False,
        "Encode without loss: ffv1 keeps all, h264 all but half of the colour's resolution.",
        flags=("--lossless",),
        panel="Result",
    )
    start: float | None = setting(None, "Begin at this second.", metavar="SECONDS", min=0, panel="Range")
    end: float | None = setting(None, "Stop at this second.", metavar="SECONDS", min=0, panel="Range")
    scene_cuts: Literal["auto", "off"] = setting("auto", "Find cuts, and let no window cross one.", panel="Range")
    seed: int | None = setting(None, "Same seed, same result (default: random).", metavar="N", min=0, panel="Edit")
    method: str = setting("eve", f"How to edit: {', '.join(METHODS)}.", panel="Edit")
    model: str = setting("mini", "A model's name, or its folder.", flags=("--model", "-m"), panel="Edit")
    backbone: str | None = setting(
        None,
        "Another Stable Diffusion 1.5 in place of the model's: a diffusers folder, a .safetensors file, a pulled REPO.",
        metavar="PATH|REPO",
        panel="Edit",
    )
    lora: str | None = setting(
        None,
        "Subjects or styles to edit with: LoRA folders (eve train lora) or .safetensors files, each with its strength.",
        metavar="PATH[:X],...",
        panel="Edit",
    )
    edit_text: Literal["auto", "split", "instruction", "caption"] = setting(
        "auto",
        "Who reads the caption: the backbone alone (split), nobody, or both networks (default: the model's).",
        panel="Edit",
    )
    steps: int | None = setting(
        None, "Denoising steps (default: the model's).", metavar="N", min=1, max=1000, panel="Edit"
    )
    guidance_scale: float | None = setting(
        None, "How strongly to follow the instruction (default: the model's).", metavar="X", min=0, panel="Edit"
    )
    image_guidance_scale: float | None = setting(
        None, "How strongly to follow the source (default: the model's).", metavar="X", min=0, panel="Edit"
    )
    caption: str | None = setting(None, "What the result shows, in words; can help.", metavar="TEXT", panel="Edit")
    task: str | None = setting(None, f"Kind of edit: {', '.join(TASKS)} (default: none).", panel="Edit")
    preserve: Literal["auto", "on", "off"] = setting(
        "auto", "Keep of the source what the instruction leaves alone (default: the model's).", panel="Edit"
    )
    window: int | None = setting(
        None, "Frames that are edited together (default: the model's).", metavar="N", min=1, max=256, panel="Edit"
    )
    overlap: int | None = setting(
        None,
        "Frames that a window shares with the one before (default: 2; together, half of it).",
        metavar="N",
        min=1,
        panel="Edit",
    )
    long: Literal["auto", "sequential", "joint"] = setting(
        "auto",
        "What is longer than a window: edited window by window, or denoised together (default: the model's).",
        panel="Edit",
    )
    span: int = setting(64, "Frames that are denoised together at most.", metavar="N", min=16, max=4096, panel="Edit")
    keyframes: int = setting(
        0,
        "Together: one of so many frames is edited alone, for the others to follow (0: the first alone).",
        metavar="N",
        min=0,
        panel="Edit",
    )
    cache_interval: int = setting(
        1, "Compute deep layers at every N-th step only: quicker, a little different.", metavar="N", min=1, panel="Edit"
    )
    cfg_end: float = setting(
        1.0,
        "Share of the steps, from the first on, that use classifier-free guidance; less is faster.",
        metavar="X",
        min=0.0,
        max=1.0,
        panel="Edit",
    )
    device: str = setting("auto", "auto, cpu, cuda, mps.", panel="Machine")
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = setting("auto", "Number format of the model.", panel="Machine")
    reuse_preview: bool = setting(True, "Go on with what eve preview of the same has made.", panel="Machine")
    on_oom: Literal["retry", "fail"] = setting(
        "retry", "Where memory runs out: go on in ways that need less, or stop.", panel="Machine"
    )
    offline: bool = setting(False, "Never download anything.", flags=("--offline",), panel="Machine")
    run_dir: Path | None = setting(
        None, "Folder of the run; kept afterwards (default: beside the result).", metavar="DIR", panel="Machine"
    )
    dry_run: bool = setting(
        False, "Say what would be done and what it needs, as eve plan does.", flags=("--dry-run",), panel="Machine"
    )
    format: Literal["text", "json"] = setting("text", "What to print on stdout.", panel="Machine")
    json: bool = setting(False, "The same as --format json.", flags=("--json",), panel="Machine")
    quiet: bool = setting(False, "Print nothing but the result and errors.", flags=("--quiet", "-q"), panel="Machine")
    no_progress: bool = setting(False, "Do not report progress.", flags=("--no-progress",), panel="Machine")

    def __post_init__(self) -> None:
        for wrong, reason in _mistakes(self):
            if wrong:
                raise UsageError(reason)
        if self.method in METHODS:
            _ = self.options  # to be told at once what is wrong

    @property
    def options(self) -> MethodOptions:
        """The options that the method has of its own."""
        return options_of(self)

    def changed(self, **values: Any) -> "EditRequest":
        """The same request with other values."""
        return dataclasses.replace(self, **values)

    @property
    def model_spec(self) -> ModelSpec:
        """The model that is asked for."""
        return ModelSpec(self.model, self.backbone, self.lora, self.edit_text, self.device, self.dtype)

    @property
    def as_json(self) -> bool:
        """Whether the result is printed as JSON."""
        return self.json or self.format == "json"

    @property
    def picture(self) -> bool:
        """Whether the input is one picture, and so the result."""
        return input_resolver.is_picture(self.input)

    def as_kept(self) -> dict[str, Any]:
        """What a run.json keeps: everything that can change a pixel of the result."""
        unset = {name for name in owners() if getattr(self, name) is None}
        return {key: value for key, value in to_mapping(self).items() if key not in (*SILENT, *unset)}


def default_output(request: EditRequest) -> Path:
    """`<input>.<the instruction, at most 40 letters>.<hash of the settings>.mp4` in the current folder.

    A picture's result has the picture's own type.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", request.instruction.lower()).strip("-")[:40].strip("-") or "edit"
    kept = dumps([request.input, request.as_kept()], sort_keys=True)
    digest = hashlib.sha256(kept.encode()).hexdigest()[:6]
    stem = Path(request.input.rstrip("/\\")).stem[:80] or "clip"
    ending = stills.type_like(request.input) if request.picture else codecs.CODECS[request.codec].types[0]
    return Path(f"{stem}.{slug}.{digest}{ending}")


def check_output(request: EditRequest) -> None:
    """OutputError if the result could not go where it should, found before any work is done.

    UsageError where a picture is to become a video, or a video a picture.
    """
    path = request.output
    assert path is not None
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file, such as {path / 'result.mp4'}.")
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: this folder does not exist; make it first or choose another --output.")
    _check_type(request, path)
    if path.exists() and not request.overwrite:
        raise OutputError(f"{path}: exists already; choose another --output or give --overwrite.")


def _check_type(request: EditRequest, path: Path) -> None:
    wanted = path.suffix.lower()
    if not request.picture:
        if wanted in input_resolver.PICTURES:
            raise UsageError(
                f"{request.input} is edited as a video, so the result cannot be the picture {path}: name a video file, "
                f"such as {path.with_suffix('.mp4')}."
            )
        codecs.choose(str(path), request.codec)
        return
    if wanted not in stills.TYPES:
        raise UsageError(
            f"{request.input} is a picture, so the result is one, and {path} is not: name a .png, .jpg or .webp, "
            f"such as {path.with_suffix(stills.type_like(request.input))}."
        )
    plain = EditRequest(input=request.input, instruction=request.instruction)
    for name in ("start", "end", "codec", "crf"):
        if getattr(request, name) != getattr(plain, name):
            raise UsageError(f"--{name} is for videos, and {request.input} is a picture: leave it out.")


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _mistakes(r: EditRequest) -> list[tuple[bool, str]]:
    overlap = r.overlap or 0
    window = r.window or overlap + 1
    return [
        (r.codec not in codecs.CODECS, f"--codec {r.codec} is unknown; use one of: {', '.join(codecs.CODECS)}."),
        (r.lossless and r.codec not in ("h264", "ffv1"), "--lossless goes with --codec h264 or ffv1 (into .mkv)."),
        (
            r.lora is not None and r.method not in ADAPTER_METHODS,
            f"--lora goes with --method {_either(ADAPTER_METHODS)}, not with {r.method}.",
        ),
        (
            r.preserve == "on" and r.method not in ADAPTER_METHODS,
            f"--preserve on goes with --method {_either(ADAPTER_METHODS)}, not with {r.method}.",
        ),
        (
            r.method in METHODS and r.long == "joint" and r.method not in LONG_METHODS,
            f"--long joint goes with --method {_either(LONG_METHODS)}, not with {r.method}.",
        ),
        (
            r.method in METHODS and (r.cache_interval > 1 or r.cfg_end < 1) and r.method not in LONG_METHODS,
            f"--cache-interval and --cfg-end go with --method {_either(LONG_METHODS)}, not with {r.method}.",
        ),
        (r.input == "-", "eve edit reads its input twice, so it cannot come from a pipe; save it to a file first."),
        ("://" in r.input, f"{r.input}: eve reads files, not addresses; download the video first."),
        (not r.instruction.strip() and r.method != "copy", "The instruction is empty; say what to change."),
        (overlap >= window, f"--overlap {r.overlap} must be smaller than --window {r.window}."),
        (r.task is not None and r.task not in TASKS, f"--task {r.task} is unknown; use one of: {', '.join(TASKS)}."),
        (
            r.end is not None and r.end <= (r.start or 0),
            f"--end {r.end} must come after --start {r.start or 0}.",
        ),
    ]
