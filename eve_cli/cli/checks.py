"""Whether this machine can edit: one check a row, each with what to do where something is wrong."""

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
"""Bytes below which an edit may be cramped; without the last, nothing can be written."""


@dataclass(frozen=True)
class Finding:
    """What a check found; where it is not "ok", the text ends with what to do."""

    name: str
    state: State
    text: str


def python() -> tuple[State, str]:
    """The interpreter, and the text that it can print."""
    version, signs = platform.python_version(), sys.stdout.encoding or ""
    if signs.lower().replace("-", "") not in ("utf8", ""):
        return "warn", f"{version}, but it prints {signs}: set PYTHONUTF8=1, or some signs cannot be shown."
    return "ok", version


def libraries() -> tuple[State, str]:
    """What eve is built on, held against the versions that it asks for."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in importlib.metadata.requires("eve-cli") or []]
    except importlib.metadata.PackageNotFoundError:
        return "warn", f"{_listed()}; eve is not installed, so what it asks for is not known: pip install -e ."
    wrong = []
    for each in wanted:
        if each.marker is not None and not each.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(each.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{each.name} is missing")
            continue
        if not each.specifier.contains(found, prereleases=True):
            wrong.append(f"{each.name} is {found}, not {each.specifier}")
    return ("fail", f"{'; '.join(wrong)}: pip install --upgrade eve-cli.") if wrong else ("ok", _listed())


def _listed() -> str:
    return ", ".join(f"{name} {version}" for name, version in versions().items() if name not in ("python", "eve"))


def device() -> tuple[State, str]:
    """What computes, tried with a product of matrices."""
    import torch

    chosen = pick_device("auto")
    dtype = pick_dtype("auto", chosen)
    told = f"{machine.name(chosen)}, {str(dtype).removeprefix('torch.')}"
    ones = torch.ones(64, 64, device=chosen, dtype=dtype)
    if float((ones @ ones)[0, 0]) != 64:
        return "fail", f"{told} computes wrongly: update its driver, or use --device cpu."
    if chosen.type == "cuda":
        return "ok", told
    told += f", {torch.get_num_threads()} threads of {os.cpu_count()} cores"
    if shutil.which("nvidia-smi"):
        return "warn", f"{told}; torch {torch.__version__} cannot use the NVIDIA GPU: install a build with CUDA."
    return "ok", told


def memory() -> tuple[State, str]:
    """Memory of the device, and of the machine."""
    import torch

    found, little = [], False
    for each in dict.fromkeys((pick_device("auto"), torch.device("cpu"))):
        free, total = machine.free(each), machine.total(each)
        found.append(f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free ({'GPU' if each.type == 'cuda' else 'main'})")
        little = little or 0 < free < LITTLE_MEMORY
    if little:
        return "warn", f"{', '.join(found)}: close other programs, or see what an edit needs with eve plan."
    return "ok", ", ".join(found)


def disk() -> tuple[State, str]:
    """Room where results, models and previews go."""
    found: dict[str, int] = {}
    for name, path in {"here": Path.cwd(), "cache": paths.cache(), "temporary": Path(tempfile.gettempdir())}.items():
        found[name] = shutil.disk_usage(_existing(path)).free
    told = ", ".join(f"{free / 1e9:.1f} GB {name}" for name, free in found.items())
    least = min(found.values())
    if least < NO_DISK:
        return "fail", f"{told}: make room first."
    return ("warn", f"{told}: long clips may not fit.") if least < LITTLE_DISK else ("ok", told)


def writing() -> tuple[State, str]:
    """Whether results can be written here, and what eve keeps for itself."""
    if not os.access(Path.cwd(), os.W_OK):
        return "fail", "this folder cannot be written to: go to another one, or name one with --output."
    own = {"EVE_CACHE": paths.cache(), "EVE_STATE": paths.state()}
    wrong = [name for name, path in own.items() if not os.access(_existing(path), os.W_OK)]
    if wrong:
        return "warn", f"eve cannot keep things of its own: set {' and '.join(wrong)} to folders of yours."
    runs = len(History().runs())
    return "ok", f"here, cache, history ({runs} past edit{'s' * (runs != 1)})"


def video() -> tuple[State, str]:
    """The video libraries, tried with a clip of two frames, and the encoders that they have."""
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
    known = f"PyAV {av.__version__}, FFmpeg's libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"
    if count != 2:
        return (
            "fail",
            f"{known}: a clip of two frames came back as {count}; install PyAV from its wheel: pip install av.",
        )
    wanted = {name: codec.encoder for name, codec in CODECS.items() if name not in FALLBACKS}
    missing = [name for name, encoder in wanted.items() if encoder not in av.codecs_available]
    if missing:
        return "warn", f"{known}; no encoder for {', '.join(missing)}: pip install av has them all."
    return "ok", f"{known}, {', '.join(wanted)}"


def model(name: str = "mini") -> tuple[State, str]:
    """The weights, each file held against its hash."""
    from eve_cli.models import bundle_manifest

    try:
        manifest = bundle_manifest.verify(bundle_manifest.resolve(name))
    except ModelError as error:
        return "fail", f"{error}"
    return "ok", f"{name}: {len(manifest.files)} files, {manifest.bytes / 1e6:.0f} MB, all as they should be"


def hub() -> tuple[State, str]:
    """The cache of the Hugging Face Hub, which is not asked for anything."""
    from huggingface_hub import constants

    path = Path(constants.HF_HUB_CACHE)
    told = "offline" if constants.HF_HUB_OFFLINE else "online when asked to"
    if not os.access(_existing(path), os.W_OK):
        return "warn", f"{told}; its cache cannot be written to: set HF_HOME to a folder of yours."
    count = len(list(path.glob("models--*"))) if path.is_dir() else 0
    return "ok", f"{told}, {count} model{'s' * (count != 1)} in its cache"


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
    """All checks, with the model `name`; a check that breaks has failed."""
    return [_one(check, name) for check in CHECKS]


def _one(check: str, name: str) -> Finding:
    try:
        state, text = model(name) if check == "model" else CHECKS[check]()
    except EveError as error:
        state, text = "fail", str(error)
    except Exception as error:
        state, text = "fail", f"{type(error).__name__}: {error}; eve env tells what to say about it in a report."
    return Finding(check, state, text)


def _existing(path: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next((each for each in (path, *path.absolute().parents) if each.exists()), Path.cwd())
