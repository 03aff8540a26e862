"""Finds the networks of the metrics in a local folder or the Hub's cache; downloads only on request."""

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

WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")
"""In order of preference: some repositories hold only the second, which is read with `weights_only`."""
SHIPPED = (Path(__file__).parents[1] / "_weights", Path(__file__).parents[2] / "weights")
CONFIGS = ("*.json", "*.txt", "*.txt.gz")
WORLD = "eve train encoders --minutes 40"


@dataclass(frozen=True)
class Checkpoint:
    """A network of the metrics: its repository on the Hub and its kind (`clip`, `viclip`, `dino`).

    `also` names another checkpoint that provides the tokenizer and image processor.
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
    "clip-h14-tokenizer": Checkpoint("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "tokenizer", "H/14"),
    "pick-h14": Checkpoint("yuvalkirstain/PickScore_v1", "clip", "H/14", also="clip-h14-tokenizer"),
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

    In the folder a checkpoint is searched under our name (`clip-l14`), its repository's name
    (`clip-vit-large-patch14`), and both parts of it (`openai/clip-vit-large-patch14`); for a ViCLIP a `.pth` file may
    be named like our name (`viclip-l14.pth`).
    """

    folder: Path | None = None
    download: bool = False

    def find(self, name: str) -> Path:
        """The folder of a checkpoint, or its .pth file; ModelError with instructions if there is none."""
        row = CHECKPOINTS[name]
        for path in self._candidates(name, row):
            if path.is_file() or _weights_file(path) or (row.kind == "tokenizer" and _has_tokenizer(path)):
                return path
        if row.size == "world":
            raise ModelError(f"{name}: not trained yet. Train it with `{WORLD}`, then pass its folder with --weights.")
        cached = self._cached(name, row)
        if cached is not None:
            return cached
        raise ModelError(f"{name}: weights missing. {self._how_to_install(name, row)}")

    def _candidates(self, name: str, row: Checkpoint) -> list[Path]:
        roots = [self.folder] if self.folder else []
        if row.size == "world":  # also in a training run's own layout
            roots += [Path(os.environ["EVE_WEIGHTS"])] if os.environ.get("EVE_WEIGHTS") else []
            roots += SHIPPED
            part = row.folder_name
            return [root / path for root in roots for path in (name, row.repository, f"encoders/{part}", part)]
        return [root / path for root in roots for path in (name, row.folder_name, row.repository, f"{name}.pth")]

    def _cached(self, name: str, row: Checkpoint) -> Path | None:
        needed = [()] if row.kind == "tokenizer" else [(file,) for file in WEIGHTS_FILES]
        for files in needed:
            try:
                folder = hub.snapshot(row.repository, [*CONFIGS, *files], download=self.download)
            except Exception as error:  # the Hub client raises many kinds
                if not self.download:
                    return None
                reason = str(error).strip().split("\n")[0].rstrip(".")
                raise ModelError(f"{name}: {row.repository} could not be downloaded ({reason}).") from error
            if _has_tokenizer(folder) if row.kind == "tokenizer" else _weights_file(folder):
                return folder
        if self.download:
            lacks = "a tokenizer" if row.kind == "tokenizer" else " or ".join(WEIGHTS_FILES)
            raise ModelError(f"{name}: {row.repository} was downloaded, but its main branch holds no {lacks}.")
        return None

    def _how_to_install(self, name: str, row: Checkpoint) -> str:
        where = f"put {row.repository} from the Hugging Face Hub into {(self.folder or Path('DIR')) / name}"
        return f"Add --download, or {where}{'' if self.folder else ' and add --weights DIR'}."

    def file(self, name: str) -> Path:
        """The file of a checkpoint's weights."""
        path = self.find(name)
        return path if path.is_file() else _weights_file(path) or path / WEIGHTS_FILES[0]

    def tokenizer_folder(self, name: str) -> Path:
        """The folder of a checkpoint's tokenizer and image processor: its own if it has them."""
        folder, also = self.find(name), CHECKPOINTS[name].also
        return folder if also is None or _has_tokenizer(folder) else self.find(also)

    def describe(self, name: str) -> dict[str, Any]:
        """The record of a checkpoint in run.json: name, repository, revision if known, file, sha256, size in bytes."""
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
        """A key that changes with the checkpoint, for cached features."""
        status = self.file(name).stat()
        return f"{name}:{status.st_size}:{status.st_mtime_ns}"

    def _missing_tokenizer(self, name: str) -> list[str]:
        if CHECKPOINTS[name].kind != "clip" or _has_tokenizer(self.tokenizer_folder(name)):
            return []
        return [f"{self.tokenizer_folder(name)} lacks a tokenizer or a preprocessor_config.json."]

    def faults(self, name: str) -> list[str]:
        """The errors in a checkpoint's tensor names and shapes, from its header; none for a pickle file."""
        path = self.file(name)
        if path.suffix != ".safetensors":
            return []
        required = expected(name, path.parent)
        return [] if required is None else compare(required, _without_buffers(shapes(path)))

    @cached_property
    def checked(self) -> dict[str, str | None]:
        """The results of `trouble` so far, by checkpoint."""
        return {}

    def trouble(self, *names: str) -> str | None:
        """None if all these checkpoints are present and complete, else one sentence on the first that is not."""
        for name in names:
            if name not in self.checked:
                try:
                    errors = self.faults(name) or self._missing_tokenizer(name)
                    self.checked[name] = f"{name}: {errors[0]}" if errors else None
                except ModelError as error:
                    self.checked[name] = str(error)
            if self.checked[name]:
                return self.checked[name]
        return None


def expected(name: str, folder: Path) -> Shapes | None:
    """The required tensor names and shapes; None for kinds that are checked on loading.

    From our own classes on the meta device: ViCLIP's from its sizes, CLIP's from the folder's config.json.
    """
    row = CHECKPOINTS[name]
    if row.kind == "viclip":
        from eve_cli.perception import viclip, viclip_encoders

        sizes = {"L/14": viclip.L14, "B/16": viclip.B16}.get(row.size) or viclip_encoders.sizes_of(folder)
        if sizes is None:
            raise ModelError(f"{folder} has no config.json with the sizes of its ViCLIP.")
        return viclip.file_shapes(sizes)
    if row.kind == "clip":
        from eve_cli.perception.clip import file_shapes

        return file_shapes(folder)
    return None


def _without_buffers(tensors: Shapes) -> Shapes:
    """The shapes without the position ids of old files, which are not weights."""
    return {name: shape for name, shape in tensors.items() if not name.endswith("position_ids")}


def _weights_file(folder: Path) -> Path | None:
    """The preferred weights file of a folder."""
    return next((folder / name for name in WEIGHTS_FILES if (folder / name).is_file()), None)


def _has_tokenizer(folder: Path) -> bool:
    prepared = any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json"))
    return prepared and any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json"))
