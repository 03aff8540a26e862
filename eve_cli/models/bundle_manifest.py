"""A bundle as files: where it is, what it lists, and whether it is whole. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eve_cli.errors import ModelError, OutputError
from eve_cli.models.presets import PRESETS
from eve_cli.storage.atomic import atomic_folder, link_or_copy
from eve_cli.storage.hashing import file_sha256
from eve_cli.storage.paths import expanded
from eve_cli.storage.paths import models as home

FORMAT, VERSION = "eve-bundle", 2
MANIFEST = "bundle.json"
PACKAGE = Path(__file__).resolve().parents[1]
REMEMBERED = 64 << 20  # bytes from which a file's sha256 is worth remembering
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}

FOLDERS: dict[str, str] = {
    "vae": "vae",
    "text_encoder": "text_encoder",
    "tokenizer": "tokenizer",
    "backbone": "unet",
    "edit": "controlnet",
    "instruction_encoder": "instruction_encoder",
    "video": "motion_adapter",
    "sparse": "sparse_controlnet",
    "domain": "domain_lora",
    "align": "align",
    "schedule": "scheduler",
    "image_schedule": "image_scheduler",
}
"""The folder of each part; the names are those of diffusers' pipelines."""


SCHEDULES = ("schedule", "image_schedule")


@dataclass(frozen=True)
class Manifest:
    """The content of bundle.json."""

    path: Path
    settings: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]
    """Size in bytes and sha256 of each file, by path within the bundle."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """How the weights were trained."""
    scores: Mapping[str, Any] = field(default_factory=dict)
    """Scores by benchmark."""
    sources: Mapping[str, Any] = field(default_factory=dict)
    """Origin of the parts that were not trained here: repository, commit and licence, by field name of `Parts`."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that the bundle has, by field name of `Parts`."""
        present = {name.split("/")[0] for name in self.files}
        return tuple(part for part, folder in FOLDERS.items() if folder in present)

    @property
    def bytes(self) -> int:
        return sum(int(entry["bytes"]) for entry in self.files.values())

    @property
    def backbone(self) -> str:
        """The sha256 of the backbone's weights, which says what a LoRA fits; of several files, all of them."""
        home = f"{FOLDERS['backbone']}/"
        files = (file for file in sorted(self.files) if file.startswith(home) and file.endswith(".safetensors"))
        return "+".join(str(self.files[file]["sha256"]) for file in files)


def places(name: str) -> list[Path]:
    """The folders where a bundle of this name is searched, in order."""
    weights = os.environ.get("EVE_WEIGHTS")
    return [
        *([Path(weights) / name] if weights else []),
        PACKAGE / "_weights" / name,
        PACKAGE.parent / "weights" / name,
        home() / name,
    ]


def resolve(name: str | Path) -> Path:
    """The folder of a bundle, by name or else by path; ModelError if there is none."""
    folder = expanded(name)
    is_name = isinstance(name, str) and folder.name == name
    named = places(str(name)) if is_name else []
    for place in (*named, folder):
        if (place / MANIFEST).is_file():
            return place
    if not is_name or folder.is_dir():
        raise ModelError(f"{name} is not a model: a model is a folder with a {MANIFEST}; see `eve models`.")
    searched = " or ".join(str(place) for place in named)
    if PRESETS.get(str(name)) and PRESETS[str(name)].sources:
        size = PRESETS[str(name)].megabytes / 1000
        raise ModelError(
            f"The model {name} is not on this machine: fetch it with eve models pull {name} ({size:.1f} GB)."
        )
    raise ModelError(
        f"There is no model named {name!r} (looked for {searched}); set EVE_WEIGHTS to the folder it is in."
    )


def here(name: str | Path) -> Manifest | None:
    """The manifest of a model on this machine, or None."""
    try:
        return read(resolve(name))
    except ModelError:
        return None


def installed() -> list[Manifest]:
    """The models that were pulled, imported or derived here."""
    folders = sorted(file.parent for file in home().glob(f"[!.]*/{MANIFEST}"))
    return [manifest for place in folders if (manifest := here(place)) is not None]


def read(path: Path) -> Manifest:
    """The manifest of a bundle; ModelError if it is missing, unreadable or of another format."""
    try:
        content = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is not a model: it has no {MANIFEST}.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path / MANIFEST} cannot be read ({error}): copy the model again.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelError(f"{path / MANIFEST} is not of the format {FORMAT}: this is not a model of eve.")
    if content.get("version") == 1:
        content = _from_version_1(content)
    elif content.get("version") != VERSION:
        raise ModelError(
            f"{path} is a model of format version {content.get('version')} and this eve reads {VERSION}: update eve."
        )
    keys = ("settings", "files", "training", "scores", "sources")
    if not all(isinstance(content.get(key, {}), dict) for key in keys) or not content.get("files"):
        raise ModelError(f"{path / MANIFEST} does not list the model's files: copy the model again.")
    return Manifest(path, *(content.get(key, {}) for key in keys))


VERSION_1_NAMES = {
    "text_cfg": "guidance_scale",
    "video_cfg": "image_guidance_scale",
    "image_text_cfg": "picture_guidance_scale",
    "hint": "control_image",
    "keep": "preserve",
}
VERSION_1_LONG = {"chain": "sequential", "together": "joint"}


def _from_version_1(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a manifest of format version 1, with the current names."""
    settings, sources = dict(content.get("settings", {})), dict(content.get("sources", {}))
    settings = {VERSION_1_NAMES.get(name, name): value for name, value in settings.items()}
    if "long" in settings:
        settings["long"] = VERSION_1_LONG.get(settings["long"], settings["long"])
    if "codec" in sources:
        sources["vae"] = sources.pop("codec")
    return content | {"settings": settings, "sources": sources}


def verify(path: Path, parts: tuple[str, ...] | None = None, *, again: bool = True) -> Manifest:
    """Checks that a bundle holds just the files that it lists, unchanged and free of code; ModelError if not.

    With `parts`, only their files are read; the rest may be missing. Without `again`, large files that were verified
    before and are unchanged since are not read again.
    """
    manifest = read(path)
    folders = [FOLDERS[part] for part in (parts if parts is not None else manifest.parts)]
    present = {file.relative_to(path).as_posix(): file for file in _files(path)}
    for name in present:
        if Path(name).suffix in PICKLES:
            raise ModelError(f"{path / name} is a pickle file, which can run code when it is read: delete it.")
        if name not in manifest.files and name.split("/")[0] in folders:
            raise ModelError(f"{path / name} does not belong to the model: delete it or copy the model again.")
    for name, entry in manifest.files.items():
        if name.split("/")[0] not in folders and "/" in name:
            continue
        if name not in present:
            raise ModelError(f"{path / name} is missing: copy the model again.")
        size = present[name].stat().st_size
        if size != entry["bytes"]:
            raise ModelError(f"{path / name} has {size} bytes and should have {entry['bytes']}: copy the model again.")
        if (file_sha256(present[name]) if again else known_sha256(present[name])) != entry["sha256"]:
            raise ModelError(f"{path / name} is damaged (its sha256 is not the one listed): copy the model again.")
    return manifest


def write(
    path: Path,
    settings: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
    sources: Mapping[str, Any] | None = None,
) -> None:
    """Lists the files that are in `path` in its bundle.json."""
    files = {
        file.relative_to(path).as_posix(): {"bytes": file.stat().st_size, "sha256": known_sha256(file)}
        for file in sorted(_files(path))
        if file.name != MANIFEST
    }
    content = {
        "format": FORMAT,
        "version": VERSION,
        "settings": dict(settings),
        "training": dict(training or {}),
        "scores": dict(scores or {}),
        **({"sources": dict(sources)} if sources else {}),
        "files": files,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (path / MANIFEST).write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def appearing(path: Path, mark: str, what: str) -> Iterator[Path]:
    """A hidden folder to write into; it takes the place of `path` at the end, whole, or is gone after an error.

    What is at `path` gives way only if it is an empty folder or holds the file `mark`. OutputError, which names the
    thing as `what`, if not, or if the folder above is missing or the disk full.
    """
    if not path.parent.is_dir():
        raise OutputError(f"The folder {path.parent} does not exist: make it first.")
    if path.exists() and not (path / mark).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise OutputError(f"{path} exists and is not a {what}: give another folder.")
    try:
        with atomic_folder(path) as fresh:
            yield fresh
    except OSError as error:
        raise OutputError(f"The {what} cannot be written to {path}: {error.strerror or error}.") from error


def known_sha256(file: Path) -> str:
    """The sha256 of a file, remembered for a large one by what changes when it is touched."""
    status = file.stat()
    if status.st_size < REMEMBERED:
        return file_sha256(file)
    note = home() / ".sha256" / f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
    with suppress(OSError):
        return note.read_text(encoding="ascii")
    sha256 = file_sha256(file)
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(sha256, encoding="ascii")
    return sha256


def stamp(*places: Path) -> str:
    """Eight letters that change when the files in these places do, without reading them."""
    files = [f for place in places for f in (sorted(_files(place)) if place.is_dir() else [place])]
    status = [(str(f.absolute()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return hashlib.blake2b(repr(status).encode(), digest_size=4).hexdigest()


def link_folder(folder: Path, target: Path) -> None:
    """All files of a folder in a second one."""
    target.mkdir()
    for file in sorted(file for file in folder.iterdir() if file.is_file()):
        link_or_copy(file, target / file.name)


def model_index(parts: Collection[str], vae: str = "AutoencoderKL") -> dict[str, Any]:
    """The model_index.json of diffusers, so that the folder loads as a pipeline of it."""
    index: dict[str, Any] = {
        "vae": ["diffusers", vae],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
    }
    if "edit" in parts:
        index["controlnet"] = ["diffusers", "ControlNetModel"]
    if "video" in parts:
        index["motion_adapter"] = ["diffusers", "MotionAdapter"]
        name = "AnimateDiffControlNetPipeline" if "edit" in parts else "AnimateDiffPipeline"
    else:
        index |= {"safety_checker": [None, None], "requires_safety_checker": False}
        name = "StableDiffusionControlNetPipeline" if "edit" in parts else "StableDiffusionPipeline"
    return {"_class_name": name, **index}


def write_json(content: Any, file: Path) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _files(path: Path) -> Iterator[Path]:
    return (file for file in path.rglob("*") if file.is_file())
