"""Where the networks of metrics lie: a local folder, or the Hub's cache; nothing is downloaded unless asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from eve_cli.errors import ModelError
from eve_cli.models import hub
from eve_cli.storage.hashing import file_sha256
from eve_cli.storage.headers import Shapes, compare, shapes

WEIGHTS_FILE = "model.safetensors"
SHIPPED = (Path(__file__).parents[1] / "_weights", Path(__file__).parents[2] / "weights")
CONFIGS = ("*.json", "*.txt", "*.txt.gz")
WORLD = "eve train eyes --minutes 40"


@dataclass(frozen=True)
class Checkpoint:
    """A network that metrics need: its repository on the Hub, and what kind it is (`clip`, `viclip`, `dino`).

    `also` names another checkpoint whose folder holds what this one lacks (a tokenizer and an image processor).
    """

    repository: str
    kind: str
    size: str
    also: str | None = None

    @property
    def folder_name(self) -> str:
        return self.repository.rpartition("/")[2]


CHECKPOINTS = {
    "clip-l14": Checkpoint("openai/clip-vit-large-patch14", "clip", "L/14"),
    "clip-b32": Checkpoint("openai/clip-vit-base-patch32", "clip", "B/32"),
    "clip-h14-words": Checkpoint("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "words", "H/14"),
    "pick-h14": Checkpoint("yuvalkirstain/PickScore_v1", "clip", "H/14", also="clip-h14-words"),
    "viclip-l14": Checkpoint("OpenGVLab/ViCLIP-L-14-hf", "viclip", "L/14"),
    "viclip-b16": Checkpoint("OpenGVLab/ViCLIP-B-16-hf", "viclip", "B/16"),
    "dino-b16": Checkpoint("facebook/dino-vitb16", "dino", "B/16"),
    "dinov2-b14": Checkpoint("facebook/dinov2-base", "dinov2", "B/14"),
    "world-clip": Checkpoint("world/clip", "clip", "world"),
    "world-viclip": Checkpoint("world/viclip", "viclip", "world"),
}


@dataclass(frozen=True)
class Weights:
    """Finds checkpoints in `folder`, then in the Hub's cache; fetches only with `download`.

    In the folder a checkpoint is looked for under our name (`clip-l14`), its repository's name
    (`clip-vit-large-patch14`), and both parts of it (`openai/clip-vit-large-patch14`); for a ViCLIP a `.pth` file may
    be named like our name (`viclip-l14.pth`).
    """

    folder: Path | None = None
    download: bool = False

    def find(self, name: str) -> Path:
        """The folder of a checkpoint, or its .pth file; ModelError with what to do where there is none."""
        row = CHECKPOINTS[name]
        for place in self._places(name, row):
            if place.is_file() or (place / WEIGHTS_FILE).is_file() or (row.kind == "words" and _has_words(place)):
                return place
        if row.size == "world":
            raise ModelError(f"{name}: not trained yet. `{WORLD}` makes it; then name its folder with --weights.")
        cached = self._cached(name, row)
        if cached is not None:
            return cached
        raise ModelError(f"{name}: weights missing. {self._how(name, row)}")

    def _places(self, name: str, row: Checkpoint) -> list[Path]:
        kept = [Path(os.environ["EVE_WEIGHTS"])] if os.environ.get("EVE_WEIGHTS") else []
        kept += SHIPPED
        roots = [self.folder] if self.folder else []
        roots += kept if row.size == "world" else []
        if row.size == "world":  # a training's own folder is taken as it is
            part = row.folder_name
            return [root / place for root in roots for place in (name, row.repository, f"eyes/{part}", part)]
        return [root / place for root in roots for place in (name, row.folder_name, row.repository, f"{name}.pth")]

    def _cached(self, name: str, row: Checkpoint) -> Path | None:
        files = [*CONFIGS, *([] if row.kind == "words" else [WEIGHTS_FILE])]
        try:
            found = hub.snapshot(row.repository, files, download=self.download)
        except Exception as error:  # the Hub raises dozens of kinds
            if not self.download:
                return None
            reason = str(error).strip().split("\n")[0].rstrip(".")
            raise ModelError(f"{name}: {row.repository} could not be downloaded ({reason}).") from error
        complete = _has_words(found) if row.kind == "words" else (found / WEIGHTS_FILE).is_file()
        return found if complete else None

    def _how(self, name: str, row: Checkpoint) -> str:
        where = f"put {row.repository} from the Hugging Face Hub into {(self.folder or Path('DIR')) / name}"
        return f"Add --download, or {where}{'' if self.folder else ' and add --weights DIR'}."

    def file(self, name: str) -> Path:
        """The file of a checkpoint's weights."""
        found = self.find(name)
        return found if found.is_file() else found / WEIGHTS_FILE

    def words(self, name: str) -> Path:
        """The folder of a checkpoint's tokenizer and image processor: its own where it has them."""
        found, other = self.find(name), CHECKPOINTS[name].also
        return found if other is None or _has_words(found) else self.find(other)

    def describe(self, name: str) -> dict[str, Any]:
        """What is used, for a run's record: name, repository, revision where known, file, sha256 and size in bytes."""
        path = self.file(name)
        return {
            "name": name,
            "repository": CHECKPOINTS[name].repository,
            "revision": hub.commit_of(path),
            "files": [path.name],
            "sha256": file_sha256(path),
            "size": path.stat().st_size,
        }

    def stamp(self, name: str) -> str:
        """What changes when a checkpoint does: the key under which features that it gave may be kept."""
        status = self.file(name).stat()
        return f"{name}:{status.st_size}:{status.st_mtime_ns}"

    def _wordless(self, name: str) -> list[str]:
        if CHECKPOINTS[name].kind != "clip" or _has_words(self.words(name)):
            return []
        return [f"{self.words(name)} lacks a tokenizer or a preprocessor_config.json."]

    def faults(self, name: str) -> list[str]:
        """What is wrong with a checkpoint's tensors, from its header alone; a .pth file has none to read."""
        path = self.file(name)
        if path.suffix != ".safetensors":
            return []
        found, wanted = shapes(path), expected(name, path.parent)
        return [] if wanted is None else compare(wanted, _without_buffers(found))

    @cached_property
    def checked(self) -> dict[str, str | None]:
        """What `trouble` has found so far."""
        return {}

    def trouble(self, *names: str) -> str | None:
        """None where all these checkpoints are here and whole, else the first one's sentence."""
        for name in names:
            if name not in self.checked:
                try:
                    said = self.faults(name) or self._wordless(name)
                    self.checked[name] = f"{name}: {said[0]}" if said else None
                except ModelError as error:
                    self.checked[name] = str(error)
            if self.checked[name]:
                return self.checked[name]
        return None


def expected(name: str, folder: Path) -> Shapes | None:
    """The names and shapes that a checkpoint must have; None for kinds that are checked when they are loaded.

    Made from our own classes without memory: ViCLIP's from its sizes, CLIP's from the folder's config.json.
    """
    row = CHECKPOINTS[name]
    if row.kind == "viclip":
        from eve_cli.perception import viclip, viclip_encoders

        own = {"L/14": viclip.L14, "B/16": viclip.B16}.get(row.size) or viclip_encoders.sizes_of(folder)
        if own is None:
            raise ModelError(f"{folder} has no config.json with the sizes of its ViCLIP.")
        return viclip.file_shapes(own)
    if row.kind == "clip":
        from eve_cli.perception.clip import file_shapes

        return file_shapes(folder)
    return None


def _without_buffers(found: Shapes) -> Shapes:
    """Old files hold position numbers, which no network has as weights."""
    return {name: shape for name, shape in found.items() if not name.endswith("position_ids")}


def _has_words(folder: Path) -> bool:
    prepared = any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json"))
    return prepared and any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json"))
