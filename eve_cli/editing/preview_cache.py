"""What previews leave for the full edit: encoded frames and finished windows, in the user's cache directory."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import torch

from eve_cli.editing.edit_plan import EditPlan
from eve_cli.editing.request import EditRequest
from eve_cli.editing.run_dir import RunDir
from eve_cli.errors import OutputError
from eve_cli.models.loading import LoadedModel, plan_model
from eve_cli.runtime.environment import versions
from eve_cli.storage.atomic import link_or_copy
from eve_cli.storage.hashing import content_sha256, json_sha256
from eve_cli.storage.paths import cache

FOLDER = "previews"
MOST, MOST_BYTES = 12, 4 * 2**30
"""Sources that are kept, and the bytes that they may take together; the least recently used are removed first."""
OF_SOURCE = ("start", "end", "scene_cuts", "fps")
"""Settings that say what the source is."""
ELSEWHERE = ("size", "side_by_side", "codec", "crf", "lossless", "device", "dtype")
"""Settings that no window depends on, or that are part of the key already."""


class PreviewCache:
    """The directory of one source and one model; each plan has its windows in it, and all share the source.

    A window is reused only where nothing differs that could change a bit of it: input, settings, weights, versions,
    device, dtype, threads.
    """

    def __init__(self, request: EditRequest, model: LoadedModel) -> None:
        editor, source = model.editor, [getattr(request, name) for name in OF_SOURCE]
        threads = torch.get_num_threads() if editor.device.type == "cpu" else 0
        machine = [str(editor.device), str(getattr(editor, "dtype", "")), threads, versions()]
        facts = [content_sha256(Path(request.input)), source, plan_model(model), machine]
        self.path = cache() / FOLDER / json_sha256(facts)[:24]

    def run_dir(self, plan: EditPlan) -> RunDir:
        """The run directory of a plan's windows."""
        settings = {name: value for name, value in plan.provenance.settings.items() if name not in ELSEWHERE}
        windows = [[window.index, window.start, window.stop, window.overlap] for window in plan.windows]
        return RunDir(self.path / json_sha256([settings, windows])[:24], self.path / "source")

    def open(self, plan: EditPlan) -> RunDir:
        """The same directory, ready to be written to; OutputError if it cannot be."""
        run_dir = self.run_dir(plan)
        for path in (run_dir.path / "windows", run_dir.source_path):
            make_dir(path)
        return run_dir

    def copy_to(self, run_dir: RunDir, plan: EditPlan) -> int:
        """Links what is cached of a plan into another run directory; gives the number of its windows."""
        cached = self.run_dir(plan)
        if not cached.path.is_dir():
            return 0
        for file in cached.source_path.glob("*.latents.safetensors"):
            _link(file, run_dir.source_path / file.name)
        windows = [window.index for window in plan.windows if cached.has_window(window.index)]
        for index in windows:
            _link(cached.window_path(index), run_dir.window_path(index))
        return sum(map(run_dir.has_window, windows))


def make_dir(path: Path) -> None:
    """Makes a directory in the cache, marked as used now; OutputError if that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        os.utime(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(
            f"{path}: cannot write here ({reason}); set EVE_CACHE to a folder that can be written."
        ) from error


def tidy() -> None:
    """Removes the least recently used, until the rest is few and small."""
    places = (each for each in (cache() / FOLDER).glob("*") if each.is_dir())
    total = 0
    for number, place in enumerate(sorted(places, key=lambda each: -each.stat().st_mtime)):
        total += sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
        if number and (number >= MOST or total > MOST_BYTES) and time.time() - place.stat().st_mtime > 3600:
            shutil.rmtree(place, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """One file under two names, or a copy where the two directories are on different disks."""
    with suppress(OutputError):
        if not target.exists():
            link_or_copy(source, target)
