"""What one edit should do: the settings of `eve edit`, some of them still open. Imports no torch."""

import dataclasses
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Any, Literal

from eve_cli.errors import OutputError, UsageError
from eve_cli.media import codecs, input_resolver, stills
from eve_cli.methods.options import MethodOptions
from eve_cli.methods.registry import METHODS, option_methods, options_from
from eve_cli.models.spec import ModelSpec
from eve_cli.settings import from_mapping, setting, to_mapping
from eve_cli.storage.paths import LONGEST_NAME, expanded, is_visible, name_problem, shortened, special_kind
from eve_cli.tasks import TASKS

RECORD, RUN_DIR = ".run.json", ".eve-run"
"""What is added to a result's name for its record and for the folder of finished windows."""
NOT_RECORDED = (
    *("input", "output", "overwrite", "run_dir", "format", "json", "quiet", "no_progress", "offline", "on_oom"),
    *("dry_run", "reuse_preview", "options"),
)
"""Settings that do not change a pixel of the result, or are recorded in another form."""


@dataclass(frozen=True)
class EditRequest:
    """Edit a video or a picture by an instruction."""

    input: str = setting(help="Video file, picture, or a folder of images.", argument=True, metavar="INPUT", basic=True)
    instruction: str = setting(
        help='What to change, like "make it snowy".', argument=True, metavar="INSTRUCTION", basic=True
    )
    output: Path | None = setting(
        None,
        "Where to write the result (default: a new name in the current folder).",
        flags=("--output", "-o"),
        metavar="FILE",
        panel="Result",
        basic=True,
    )
    overwrite: bool = setting(
        False, "Replace the result if it exists.", flags=("--overwrite",), panel="Result", basic=True
    )
    size: Literal["source", "model"] = setting(
        "source", "Size of the result: the source's, or the one that the model works at.", panel="Result"
    )
    side_by_side: bool = setting(
        False, "Put the source next to the result.", flags=("--side-by-side",), panel="Result", basic=True
    )
    codec: str = setting("h264", f"Video codec: {', '.join(codecs.CODECS)}.", panel="Result")
    crf: int | None = setting(
        None, "Quality of the codec; smaller is better (default: 16 for h264).", min=0, max=63, panel="Result"
    )
    lossless: bool = setting(
        False,
        "Lossless encoding: ffv1 keeps everything, h264 everything but half of the chroma resolution.",
        flags=("--lossless",),
        panel="Result",
    )
    fps: float | None = setting(
        None, "Frames a second of a folder of pictures (default: 25).", metavar="NUMBER", min=0.01, panel="Range"
    )
    start: float | None = setting(None, "Start at this second.", metavar="SECONDS", min=0, panel="Range", basic=True)
    end: float | None = setting(None, "Stop at this second.", metavar="SECONDS", min=0, panel="Range", basic=True)
    scene_cuts: Literal["auto", "off"] = setting("auto", "Detect cuts; no window crosses one.", panel="Range")
    seed: int | None = setting(
        None, "Same seed, same result (default: random).", metavar="N", min=0, panel="Edit", basic=True
    )
    method: str = setting("eve", f"How to edit: {', '.join(METHODS)}.", panel="Edit", basic=True)
    model: str = setting("mini", "A model's name, or its folder.", flags=("--model", "-m"), panel="Edit", basic=True)
    backbone: str | None = setting(
        None,
        "Another Stable Diffusion 1.5 in place of the model's: a diffusers folder, a .safetensors file, a pulled REPO.",
        metavar="PATH|REPO",
        panel="Edit",
    )
    lora: str | None = setting(
        None,
        "LoRAs: folders made by eve train lora or .safetensors files, each with its scale.",
        metavar="PATH[:X],...",
        panel="Edit",
    )
    edit_text: Literal["auto", "split", "instruction", "caption"] = setting(
        "auto",
        "Text that the networks read: split gives the backbone the caption and the edit adapter the instruction "
        "(default: the model's).",
        panel="Edit",
    )
    steps: int | None = setting(
        None,
        "Denoising steps (default: the model's).",
        flags=("--steps", "--num-inference-steps"),
        metavar="N",
        min=1,
        max=1000,
        panel="Edit",
        basic=True,
    )
    guidance_scale: float | None = setting(
        None,
        "Classifier-free guidance on the text (default: the model's).",
        flags=("--guidance-scale", "--cfg"),
        metavar="X",
        min=0,
        panel="Edit",
        basic=True,
    )
    image_guidance_scale: float | None = setting(
        None, "Classifier-free guidance on the source (default: the model's).", metavar="X", min=0, panel="Edit"
    )
    caption: str | None = setting(None, "Describes the result; can help.", metavar="TEXT", panel="Edit", basic=True)
    task: str | None = setting(None, f"Kind of edit: {', '.join(TASKS)} (default: none).", panel="Edit")
    preserve: Literal["auto", "on", "off"] = setting(
        "auto",
        "Preserve the source where the instruction changes nothing (default: the model's).",
        panel="Edit",
        basic=True,
    )
    window: int | None = setting(
        None, "Frames in a window (default: the model's).", metavar="N", min=1, max=256, panel="Edit"
    )
    overlap: int | None = setting(
        None,
        "Frames that a window shares with the one before (default: 2; with --long joint, half a window).",
        metavar="N",
        min=1,
        panel="Edit",
    )
    long: Literal["auto", "sequential", "joint"] = setting(
        "auto",
        "Clips longer than a window: windows one after the other, or denoised jointly (default: the model's).",
        panel="Edit",
    )
    span: int = setting(
        64, "With --long joint: the most frames that are denoised at once.", metavar="N", min=16, max=4096, panel="Edit"
    )
    keyframes: int = setting(
        0,
        "With --long joint: one of N frames is edited as a picture and conditions the others (0: only the first).",
        metavar="N",
        min=0,
        panel="Edit",
    )
    cache_interval: int = setting(
        1,
        "Compute deep layers at every N-th step only (DeepCache): faster, slightly different.",
        metavar="N",
        min=1,
        panel="Edit",
    )
    cfg_end: float = setting(
        1.0,
        "Share of the steps, from the first on, that use classifier-free guidance; less is faster.",
        metavar="X",
        min=0.0,
        max=1.0,
        panel="Edit",
    )
    device: str = setting("auto", "auto, cpu, cuda, mps.", panel="Machine", basic=True)
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = setting("auto", "Number format of the model.", panel="Machine")
    reuse_preview: bool = setting(
        True, "Reuse the windows that eve preview of the same edit has made.", panel="Machine"
    )
    on_oom: Literal["retry", "fail"] = setting(
        "retry", "When memory runs out: retry with less memory, or stop.", panel="Machine"
    )
    offline: bool = setting(False, "Never download anything.", flags=("--offline",), panel="Machine")
    run_dir: Path | None = setting(
        None,
        "Folder for finished windows; kept afterwards (default: beside the result, removed at the end).",
        metavar="DIR",
        panel="Machine",
    )
    dry_run: bool = setting(
        False,
        "Print the plan and its estimate, as eve plan does.",
        flags=("--dry-run",),
        panel="Machine",
        basic=True,
    )
    format: Literal["text", "json"] = setting("text", "Format of the output on stdout.", panel="Machine")
    json: bool = setting(False, "Print JSON on stdout.", flags=("--json",), panel="Machine", basic=True)
    quiet: bool = setting(
        False, "Print only the result and errors.", flags=("--quiet", "-q"), panel="Machine", basic=True
    )
    no_progress: bool = setting(False, "Do not report progress.", flags=("--no-progress",), panel="Machine")

    options: MethodOptions = setting(None, hidden=True)
    """The options of the method itself; its defaults where None is given."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "input", os.path.expanduser(self.input))
        for name in ("output", "run_dir"):
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, expanded(path))
        for wrong, reason in _mistakes(self):
            if wrong:
                raise UsageError(reason)
        if self.method not in METHODS:
            return
        if self.options is None:
            object.__setattr__(self, "options", METHODS[self.method].options())
        if self.picture:
            self.options.check_picture(self.method, self.input)
        self.options.check(self.method, self.instruction, self.caption, steps=self.steps, window=self.window)

    @classmethod
    def of(cls, values: Mapping[str, Any], origin: str) -> "EditRequest":
        """The request that a mapping describes: fields of this class, and options of its method by their own names.

        UsageError for an unknown name, a wrong type, or an option of another method; `origin` says where they are from.
        """
        of_methods = option_methods()
        method_values = {name: value for name, value in values.items() if name in of_methods and value is not None}
        request_values = {name: value for name, value in values.items() if name not in of_methods}
        options = options_from(str(request_values.get("method", "eve")), method_values)
        return from_mapping(cls, request_values | {"options": options}, origin)

    def changed(self, **values: Any) -> "EditRequest":
        """The same request with other values, also of the method's options."""
        method_values = {name: values.pop(name) for name in list(values) if name in option_methods()}
        options = dataclasses.replace(self.options, **method_values) if method_values else self.options
        return dataclasses.replace(self, **{"options": options} | values)

    def flat(self) -> dict[str, Any]:
        """All values, those of the method's options by their own names, as JSON can hold them."""
        values = to_mapping(self)
        values.pop("options")
        return values | to_mapping(self.options)

    @property
    def as_json(self) -> bool:
        """Whether the result is printed as JSON."""
        return self.json or self.format == "json"

    @property
    def picture(self) -> bool:
        """Whether the input is one picture, and so the result."""
        return input_resolver.is_picture(self.input)

    @property
    def model_spec(self) -> ModelSpec:
        """The model to load."""
        return ModelSpec(self.model, self.backbone, self.lora, self.edit_text, self.device, self.dtype)

    def recorded(self) -> dict[str, Any]:
        """What run.json records: everything that can change a pixel of the result; options of the method where set."""
        default = to_mapping(type(self.options)())
        options = {name: value for name, value in to_mapping(self.options).items() if value != default[name]}
        recorded = {name: value for name, value in to_mapping(self).items() if name not in NOT_RECORDED}
        if self.fps is None:
            del recorded["fps"]  # names and seeds by these settings stay as they were before there was this one
        return recorded | options


def default_output(request: EditRequest) -> Path:
    """`<input>.<the instruction, at most 40 letters>.<hash of the settings>.mp4` in the current folder.

    Of the input's name it has at most 80 bytes of printable characters. A picture's result has the picture's own type.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", request.instruction.lower()).strip("-")[:40].strip("-") or "edit"
    settings = dumps([request.input, request.recorded()], sort_keys=True)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:6]
    stem = "".join(filter(is_visible, Path(request.input.rstrip("/\\")).stem)).strip(".")
    stem = shortened(stem, 80) or "clip"
    ending = stills.type_like(request.input) if request.picture else codecs.CODECS[request.codec].types[0]
    return Path(f"{stem}.{slug}.{digest}{ending}")


def check_name(path: Path) -> None:
    """OutputError if no result can have this path, whose record has a longer name, or if it is a pipe or a device."""
    if problem := name_problem(path):
        raise OutputError(f"{path}: {problem}; choose another name.")
    size, most = len(os.fsencode(path.name)), LONGEST_NAME - len(RECORD)
    if size > most:
        raise OutputError(
            f"{path}: this name has {size} bytes, and its {RECORD} leaves room for {most}: choose a shorter name."
        )
    if kind := special_kind(path):
        raise OutputError(f"{path}: is {kind}; name a file.")


def check_output(request: EditRequest) -> None:
    """OutputError if the result could not go where it should, found before any work is done.

    UsageError where a picture is to become a video, or a video a picture.
    """
    path = request.output
    assert path is not None
    for each in filter(None, (path, request.run_dir)):
        check_name(each)
    if path.is_dir() and request.picture:
        raise OutputError(f"{path}: is a folder; name a file, such as {path / 'result.png'}.")
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: this folder does not exist; make it first or choose another --output.")
    _check_type(request, path)
    if path.is_dir() and any(path.iterdir()) and not request.overwrite:
        raise OutputError(
            f"{path}: is a folder with content; name a file, such as {path / 'result.mp4'}, or give --overwrite to "
            "write numbered pictures into it."
        )
    if path.is_file() and not request.overwrite:
        raise OutputError(f"{path}: exists already; choose another --output or give --overwrite.")


def _check_type(request: EditRequest, path: Path) -> None:
    suffix = path.suffix.lower()
    if not request.picture:
        if suffix in input_resolver.PICTURES:
            raise UsageError(
                f"{request.input} is edited as a video, so the result cannot be the picture {path}: name a video file, "
                f"such as {path.with_suffix('.mp4')}."
            )
        codecs.check_quality(str(path), request.codec, request.crf, request.lossless)
        return
    if suffix not in stills.TYPES:
        raise UsageError(
            f"{request.input} is a picture, so the result is one, and {path} is not: name a .png, .jpg or .webp, "
            f"such as {path.with_suffix(stills.type_like(request.input))}."
        )
    plain = EditRequest(input=request.input, instruction=request.instruction)
    for name in ("start", "end", "fps", "codec", "crf"):
        if getattr(request, name) != getattr(plain, name):
            raise UsageError(f"--{name} is for videos, and {request.input} is a picture: leave it out.")


def _is_text(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _either(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _mistakes(r: EditRequest) -> list[tuple[bool, str]]:
    overlap = r.overlap or 0
    window = r.window or overlap + 1
    method = METHODS.get(r.method)
    adapter = [name for name, row in METHODS.items() if "edit" in row.needs]
    long = [name for name, row in METHODS.items() if row.long]
    return [
        (r.codec not in codecs.CODECS, f"--codec {r.codec} is unknown; use one of: {', '.join(codecs.CODECS)}."),
        (r.lossless and r.codec not in ("h264", "ffv1"), "--lossless goes with --codec h264 or ffv1 (into .mkv)."),
        (
            r.lora is not None and r.method not in adapter,
            f"--lora goes with --method {_either(adapter)}, not with {r.method}.",
        ),
        (
            r.preserve == "on" and r.method not in adapter,
            f"--preserve on goes with --method {_either(adapter)}, not with {r.method}.",
        ),
        (
            method is not None and r.long == "joint" and not method.long,
            f"--long joint goes with --method {_either(long)}, not with {r.method}.",
        ),
        (
            method is not None and (r.cache_interval > 1 or r.cfg_end < 1) and not method.long,
            f"--cache-interval and --cfg-end go with --method {_either(long)}, not with {r.method}.",
        ),
        (
            r.fps is not None and os.path.isfile(expanded(r.input)),
            "--fps is for a folder of pictures; a video has times of its own.",
        ),
        (r.input == "-", "eve edit reads its input twice, so it cannot come from a pipe; save it to a file first."),
        ("://" in r.input, f"{r.input}: eve reads files, not addresses; download the video first."),
        (not r.instruction.strip() and r.method != "copy", "The instruction is empty; say what to change."),
        (not _is_text(r.instruction + (r.caption or "")), "The instruction or the caption is not text in UTF-8."),
        (overlap >= window, f"--overlap {r.overlap} must be smaller than --window {r.window}."),
        (r.seed is not None and r.seed >= 2**63, f"--seed {r.seed} is too large; it must be below 2^63."),
        (r.task is not None and r.task not in TASKS, f"--task {r.task} is unknown; use one of: {', '.join(TASKS)}."),
        (
            r.end is not None and r.end <= (r.start or 0),
            f"--end {r.end} must come after --start {r.start or 0}.",
        ),
    ]
