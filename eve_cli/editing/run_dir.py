"""The run directory of an edit: finished work on disk, so that an edit can be killed at any moment and resumed."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from eve_cli.editing.edit_plan import EditPlan
from eve_cli.errors import OutputError, UsageError
from eve_cli.storage import lock
from eve_cli.storage.atomic import write_bytes
from eve_cli.storage.headers import utf8_name
from eve_cli.storage.paths import shell_word

BLOCK = 32
"""Frames in one file of the source."""
PLAN, EVENTS, SOURCE, WINDOWS = "plan.json", "events.json", "source", "windows"


class RunDir:
    """`plan.json`, the source's frames at the model's size and its latents in blocks, a file for each finished window.

    `source` is a directory of frames and latents that several runs share (default: one in this directory). The run
    that works in it holds its `lock`.
    """

    def __init__(self, path: Path, source: Path | None = None) -> None:
        self.path, self.source_path = path, source or path / SOURCE
        self.plan_path = path / PLAN
        self.lock = lock.Lock(path / lock.NAME, str(path))
        self.saved: list[int] = []
        """Windows that were finished since this object was made."""

    @classmethod
    def create(cls, path: Path, overwrite: bool = False) -> "RunDir":
        """A new directory with its lock taken, replacing an older run if `overwrite`.

        UsageError if there is something else in it, or if another process works there.
        """
        folder = cls(path)
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path}: is not a folder; choose another --run-dir.")
        own = folder.plan_path.is_file() or not path.is_dir()
        if not own and any(each.name not in (SOURCE, WINDOWS, lock.NAME) for each in path.iterdir()):
            raise UsageError(f"{path}: this folder is not empty; choose another --run-dir.")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path}: cannot make this folder ({error.strerror}).") from error
        folder.lock.acquire()
        try:
            folder._prepare(overwrite)
        except BaseException:
            folder.lock.release()
            raise
        return folder

    def _prepare(self, overwrite: bool) -> None:
        if self.plan_path.is_file() and not overwrite:
            raise UsageError(
                f"{self.path}: holds an unfinished run; resume it (eve resume {shell_word(self.path)}) or start again "
                "with --overwrite."
            )
        for name in (PLAN, EVENTS):
            (self.path / name).unlink(missing_ok=True)
        for name in (SOURCE, WINDOWS):
            shutil.rmtree(self.path / name, ignore_errors=True)
            (self.path / name).mkdir(exist_ok=True)

    @classmethod
    def open(cls, path: Path) -> "RunDir":
        """The directory of an interrupted run; UsageError if it is none, or if no window was finished."""
        folder = cls(path)
        if not folder.plan_path.is_file():
            raise UsageError(f"{path}: there is no run to resume here (it has no {PLAN}).")
        return folder

    @property
    def output_of_plan(self) -> str | None:
        """The file name of the result that the run in this directory is for; None if there is no plan that says it."""
        try:
            return Path(json.loads(self.plan_path.read_text(encoding="utf-8"))["edit"]["output"]).name
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def plan(self) -> EditPlan:
        """What the run does; UsageError if another version of eve wrote it."""
        return EditPlan.from_json(json.loads(self.plan_path.read_text(encoding="utf-8")), str(self.plan_path))

    def save_plan(self, plan: EditPlan) -> None:
        """Writes the plan: from here on the run can be resumed."""
        write_bytes(self.plan_path, json.dumps(plan.as_json(), indent=1).encode())

    @property
    def events(self) -> list[dict[str, Any]]:
        """Failures that were recovered from (`oom.Event`), oldest first."""
        path = self.path / EVENTS
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []

    def add_event(self, event: dict[str, Any]) -> None:
        """Records an event, for a resumed run and for run.json."""
        write_bytes(self.path / EVENTS, json.dumps([*self.events, event], indent=1).encode())

    def save_pixels(self, block: int, pixels: Tensor) -> None:
        """Keeps a block of small source frames, uint8 (frames, 3, height, width)."""
        write_bytes(self._block("pixels", block), save({"pixels": pixels.contiguous()}))

    def block_pixels(self, block: int) -> Tensor:
        """All small source frames of a block."""
        with _tensors(self._block("pixels", block)) as file:
            return file.get_tensor("pixels")

    def has_latents(self, block: int) -> bool:
        """Whether a block is encoded."""
        return self._block("latents", block).is_file()

    def save_latents(self, block: int, latents: Tensor) -> None:
        """Keeps the latents (frames, c, h, w) of a block."""
        write_bytes(self._block("latents", block), save({"latents": latents.cpu().contiguous()}))

    def source(self, frames: range, name: Literal["latents", "pixels"] = "latents") -> Tensor:
        """The source's latents (frames, c, h, w), or its `pixels` as uint8 (frames, 3, height, width)."""
        blocks = []
        for number in range(frames.start // BLOCK, (frames.stop - 1) // BLOCK + 1):
            first = number * BLOCK
            with _tensors(self._block(name, number)) as file:
                blocks.append(file.get_slice(name)[max(frames.start - first, 0) : frames.stop - first])
        return torch.cat(blocks)

    def has_window(self, index: int) -> bool:
        """Whether a window is finished."""
        return self.window_path(index).is_file()

    def save_window(self, index: int, latents: Tensor, effect: Tensor | None = None) -> None:
        """Commits a window: its edited latents (frames, c, h, w), overlap included, and the effect on the new."""
        content = {"latents": latents} | ({} if effect is None else {"effect": effect})
        write_bytes(self.window_path(index), save({k: v.cpu().contiguous() for k, v in content.items()}))
        self.saved.append(index)

    def window(self, index: int) -> Tensor:
        """A finished window's edited latents."""
        with _tensors(self.window_path(index)) as file:
            return file.get_tensor("latents")

    def effect(self, index: int) -> Tensor | None:
        """What the instruction does to a finished window (`effect.effect`), if that was computed."""
        with _tensors(self.window_path(index)) as file:
            return file.get_tensor("effect") if "effect" in file.keys() else None  # noqa: SIM118

    def remove(self) -> None:
        """Deletes the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _block(self, name: str, number: int) -> Path:
        return self.source_path / f"{number:06d}.{name}.safetensors"

    def window_path(self, index: int) -> Path:
        """The file of a window."""
        return self.path / WINDOWS / f"{index:06d}.safetensors"


@contextmanager
def _tensors(path: Path) -> Iterator[Any]:
    with utf8_name(path) as name, safe_open(name, "pt") as file:
        yield file
