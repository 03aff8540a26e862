"""What previews leave for the full edit of the same: encoded frames and finished windows, in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from eve_cli.editing.provenance import describe_input
from eve_cli.editing.request import EditRequest
from eve_cli.editing.run_dir import RunFolder
from eve_cli.errors import OutputError
from eve_cli.models.loading import LoadedModel, plan_model, versions
from eve_cli.storage.paths import cache

SHELF = "previews"
MOST, MOST_BYTES = 12, 4 * 2**30
"""Sources that are kept, and what they may take together; the oldest leave first."""
OF_SOURCE = ("start", "end", "scene_cuts")
ELSEWHERE = ("size", "side_by_side", "codec", "crf", "lossless", "device", "dtype")
"""Settings that say what the source is, and settings that no window depends on, or that are resolved elsewhere."""


class Shelf:
    """The place of one source and one model; each plan has a folder of windows in it, and all share the source.

    A window is found again only where nothing differs that could change a bit of it: input, settings, weights,
    versions, device, number format, threads.
    """

    def __init__(self, request: EditRequest, model: LoadedModel) -> None:
        editor, read = model.editor, [getattr(request, name) for name in OF_SOURCE]
        threads = torch.get_num_threads() if editor.device.type == "cpu" else 0
        machine = [str(editor.device), str(getattr(editor, "dtype", "")), threads, versions()]
        facts = [describe_input(request.input)["sha256"], read, plan_model(model), machine]
        self.path = cache() / SHELF / _digest(facts)

    def folder(self, plan: Mapping[str, Any]) -> RunFolder:
        """The folder of a plan's windows."""
        settings = {name: value for name, value in plan["record"]["settings"].items() if name not in ELSEWHERE}
        return RunFolder(self.path / _digest([settings, plan["windows"]]), self.path / "source")

    def open(self, plan: Mapping[str, Any]) -> RunFolder:
        """The same folder, ready to be written to; OutputError if it cannot be."""
        folder = self.folder(plan)
        for path in (folder.path / "windows", folder.source_path):
            make(path)
        return folder

    def lend(self, plan: Mapping[str, Any], folder: RunFolder) -> int:
        """Puts what is here of a plan into the folder of its run; gives the number of windows that it got."""
        own = self.folder(plan)
        if not own.path.is_dir():
            return 0
        for file in own.source_path.glob("*.latents.safetensors"):
            _link(file, folder.source_path / file.name)
        found = [each["index"] for each in plan["windows"] if own.has_window(each["index"])]
        for index in found:
            _link(own.window_path(index), folder.window_path(index))
        return sum(map(folder.has_window, found))


def make(path: Path) -> None:
    """A folder in the cache, marked as used now; OutputError if that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        os.utime(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(
            f"{path}: cannot write here ({reason}); set EVE_CACHE to a folder that can be written."
        ) from error


def tidy() -> None:
    """Removes what was not used for longest, until the rest is few and small."""
    shelf = cache() / SHELF
    places = sorted((each for each in shelf.glob("*") if each.is_dir()), key=lambda each: -each.stat().st_mtime)
    total = 0
    for number, place in enumerate(places):
        total += sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
        if number and (number >= MOST or total > MOST_BYTES) and time.time() - place.stat().st_mtime > 3600:
            shutil.rmtree(place, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """One file under two names, or a copy where the two places are on different disks."""
    try:
        if not target.exists():
            os.link(source, target)
    except OSError:
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            shutil.copyfile(source, part)
            os.replace(part, target)
        except OSError:
            part.unlink(missing_ok=True)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]
