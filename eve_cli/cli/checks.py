"""The checks of `eve doctor`: each returns its state and a text that ends with a remedy if something is wrong."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from eve_cli.errors import EveError, ModelError
from eve_cli.estimate.history import History
from eve_cli.runtime import machine
from eve_cli.runtime.device import pick_device, pick_dtype
from eve_cli.runtime.environment import versions
from eve_cli.storage import paths

State = Literal["ok", "warn", "fail"]
LITTLE_MEMORY, LITTLE_DISK, NO_DISK = 4e9, 2e9, 2e8
"""Bytes below which an edit may run out; below NO_DISK nothing can be written."""


@dataclass(frozen=True)
class Finding:
    """The result of a check; unless it is "ok", the text ends with a remedy."""

    name: str
    state: State
    text: str


def python() -> tuple[State, str]:
    """The interpreter version and its output encoding."""
    version, encoding = platform.python_version(), sys.stdout.encoding or ""
    if encoding.lower().replace("-", "") not in ("utf8", ""):
        return "warn", f"{version} with output encoding {encoding}, which lacks some characters: set PYTHONUTF8=1."
    return "ok", version


def libraries() -> tuple[State, str]:
    """Installed versions of the dependencies, compared with the required ones."""
    from packaging.requirements import Requirement

    try:
        requirements = [Requirement(line) for line in importlib.metadata.requires("eve-cli") or []]
    except importlib.metadata.PackageNotFoundError:
        return "warn", f"{_listed()}; eve is not installed, so required versions are unknown: pip install -e ."
    problems = []
    for each in requirements:
        if each.marker is not None and not each.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = importlib.metadata.version(each.name)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{each.name} is missing")
            continue
        if not each.specifier.contains(installed, prereleases=True):
            problems.append(f"{each.name} is {installed}, not {each.specifier}")
    return ("fail", f"{'; '.join(problems)}: pip install --upgrade eve-cli.") if problems else ("ok", _listed())


def _listed() -> str:
    return ", ".join(f"{name} {version}" for name, version in versions().items() if name not in ("python", "eve"))


def device() -> tuple[State, str]:
    """The compute device, tested with a matrix product and a convolution in its number format."""
    import torch
    import torch.nn.functional as F

    picked = pick_device("auto")
    dtype = pick_dtype("auto", picked)
    text = f"{machine.name(picked)}, {str(dtype).removeprefix('torch.')}"
    ones = torch.ones(64, 64, device=picked, dtype=dtype)
    try:
        results = float((ones @ ones)[0, 0]), float(F.conv2d(ones.view(1, 64, 8, 8), ones.view(64, 64, 1, 1)).max())
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        return "fail", f"{text} does not compute ({reason}): update its driver, or use --device cpu."
    if results != (64.0, 64.0):
        return "fail", f"{text} returns wrong results: update its driver, or use --device cpu."
    if picked.type == "cuda":
        return "ok", text
    text += f", {torch.get_num_threads()} threads of {os.cpu_count()} cores"
    if shutil.which("nvidia-smi"):
        return "warn", f"{text}; torch {torch.__version__} cannot use the NVIDIA GPU: install a build with CUDA."
    return "ok", text


def memory() -> tuple[State, str]:
    """Free memory of the GPU and the machine."""
    import torch

    texts, little = [], False
    for each in dict.fromkeys((pick_device("auto"), torch.device("cpu"))):
        free, total = machine.free(each), machine.total(each)
        texts.append(f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free ({'GPU' if each.type == 'cuda' else 'main'})")
        little = little or 0 < free < LITTLE_MEMORY
    if little:
        return "warn", f"{', '.join(texts)}: close other programs, or estimate an edit with eve plan."
    return "ok", ", ".join(texts)


def disk() -> tuple[State, str]:
    """Free disk space for results, models and previews."""
    free_bytes: dict[str, int] = {}
    for name, path in {"here": Path.cwd(), "cache": paths.cache(), "temporary": Path(tempfile.gettempdir())}.items():
        free_bytes[name] = shutil.disk_usage(_existing(path)).free
    text = ", ".join(f"{free / 1e9:.1f} GB {name}" for name, free in free_bytes.items())
    least = min(free_bytes.values())
    if least < NO_DISK:
        return "fail", f"{text}: free some disk space."
    return ("warn", f"{text}: long clips may not fit.") if least < LITTLE_DISK else ("ok", text)


def writing() -> tuple[State, str]:
    """Write access to this folder, the cache and the history."""
    if not os.access(Path.cwd(), os.W_OK):
        return "fail", "this folder is not writable: change to another one, or set --output."
    folders = {"EVE_CACHE": paths.cache(), "EVE_STATE": paths.state()}
    problems = [name for name, path in folders.items() if not os.access(_existing(path), os.W_OK)]
    if problems:
        return "warn", f"cache or history is not writable: set {' and '.join(problems)} to writable folders."
    runs = len(History().runs())
    return "ok", f"here, cache, history ({runs} past edit{'s' * (runs != 1)})"


def video() -> tuple[State, str]:
    """The video libraries, tested with a clip of two frames, and their encoders."""
    import av
    import numpy as np

    from eve_cli.media.codecs import CODECS, FALLBACKS
    from eve_cli.media.decode import VideoReader
    from eve_cli.media.encode import VideoWriter

    with tempfile.TemporaryDirectory(prefix="eve-") as folder:
        clip = Path(folder) / "clip.mp4"
        with VideoWriter(clip, fps=10, audio="none") as writer:
            for number in range(2):
                writer.write(np.full((3, 32, 32), 100 * number, np.uint8), Fraction(number, 10), Fraction(1, 10))
        with VideoReader(clip) as reader:
            count = sum(1 for _ in reader)
    text = f"PyAV {av.__version__}, FFmpeg's libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"
    if count != 2:
        return "fail", f"{text}: {count} of 2 test frames were decoded; install PyAV from its wheel: pip install av."
    encoders = {name: codec.encoder for name, codec in CODECS.items() if name not in FALLBACKS}
    missing = [name for name, encoder in encoders.items() if encoder not in av.codecs_available]
    if missing:
        return "warn", f"{text}; no encoder for {', '.join(missing)}: the wheel has all, pip install av."
    return "ok", f"{text}, {', '.join(encoders)}"


def model(name: str = "mini") -> tuple[State, str]:
    """The model's files, each verified against its hash."""
    from eve_cli.models import bundle_manifest

    try:
        manifest = bundle_manifest.verify(bundle_manifest.resolve(name))
    except ModelError as error:
        return "fail", f"{error}"
    return "ok", f"{name}: {len(manifest.files)} files, {manifest.bytes / 1e6:.0f} MB, all hashes match"


def hub() -> tuple[State, str]:
    """The local cache of the Hugging Face Hub; no network is used."""
    from huggingface_hub import constants

    path = Path(constants.HF_HUB_CACHE)
    mode = "offline" if constants.HF_HUB_OFFLINE else "downloads on request"
    if not os.access(_existing(path), os.W_OK):
        return "warn", f"{mode}; its cache is not writable: set HF_HOME to a writable folder."
    count = len(list(path.glob("models--*"))) if path.is_dir() else 0
    return "ok", f"{mode}, {count} cached model{'s' * (count != 1)}"


CHECKS: dict[str, Callable[[], tuple[State, str]]] = {
    "python": python,
    "libraries": libraries,
    "device": device,
    "memory": memory,
    "disk": disk,
    "writing": writing,
    "video": video,
    "model": model,
    "hub": hub,
}


def examine(name: str = "mini") -> list[Finding]:
    """Run all checks, with the model `name`; a check that raises has failed."""
    return [_one(check, name) for check in CHECKS]


def _one(check: str, name: str) -> Finding:
    try:
        state, text = model(name) if check == "model" else CHECKS[check]()
    except EveError as error:
        state, text = "fail", str(error)
    except Exception as error:
        state, text = "fail", f"{type(error).__name__}: {error}; report it with the output of eve env."
    return Finding(check, state, text)


def _existing(path: Path) -> Path:
    """The folder, or its nearest existing parent."""
    return next((each for each in (path, *path.absolute().parents) if each.exists()), Path.cwd())
