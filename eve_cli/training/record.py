"""What a run leaves to read: a JSONL row every few steps, TensorBoard, and preview pictures."""

from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from eve_cli.errors import OutputError
from eve_cli.storage import jsonl


class Record:
    """Writes `records.jsonl`, `tensorboard/` and `previews/` of one run."""

    def __init__(self, folder: Path, step: int) -> None:
        """Opens the record for a run that stands at `step`; later rows of a killed run are dropped."""
        self.folder = folder
        self.path = folder / "records.jsonl"
        _drop_after(self.path, step)
        self._board = _board(folder / "tensorboard", step)

    def row(self, step: int, values: dict[str, Any]) -> None:
        """Adds one row."""
        try:
            jsonl.append(self.path, {"step": step} | values)
        except OSError as error:
            raise OutputError(f"Cannot write {self.path}: {error.strerror or error}.") from error
        for name, value in values.items():
            if self._board is not None and isinstance(value, int | float):
                self._board.add_scalar(name, value, step)

    def picture(self, step: int, picture: Tensor) -> Path:
        """Writes a picture (3, height, width) in 0-1 as PNG."""
        path = self.folder / "previews" / f"step-{step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        save_png(picture, path)
        if self._board is not None:
            self._board.add_image("preview", picture.detach().float().clamp(0, 1).cpu(), step)
        return path

    def close(self) -> None:
        """Closes TensorBoard's file."""
        if self._board is not None:
            self._board.close()


def save_png(picture: Tensor, path: Path) -> None:
    """Writes a picture (3, height, width) in 0-1 as PNG."""
    array = (picture.detach().float().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    try:
        Image.fromarray(np.ascontiguousarray(array)).save(path)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error


def read(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's record."""
    path = folder / "records.jsonl"
    return [row for _, row in jsonl.read(path)] if path.exists() else []


def _drop_after(path: Path, step: int) -> None:
    """Drops the rows after a step, and a last one that a kill cut short."""
    rows = takewhile(lambda row: row is not None and "step" in row, jsonl.read_log(path))
    if path.exists():
        jsonl.write(path, [row for row in rows if row is not None and row["step"] <= step])


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)
