"""A clip as a folder of numbered PNG files, complete or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from eve_cli.errors import OutputError
from eve_cli.media.clip import Picture
from eve_cli.storage.atomic import hidden_folder
from eve_cli.storage.paths import expanded


def is_folder(name: str) -> bool:
    """Whether an output name means a folder of pictures: one that is there, or a name without an ending."""
    return name.endswith(("/", os.sep)) or os.path.isdir(expanded(name)) or not Path(name).suffix


class PictureFolder:
    """PNG files written to a hidden folder, which `commit` moves into place."""

    def __init__(self, name: str, overwrite: bool = True) -> None:
        self.name = name
        self.target = Path(os.path.abspath(expanded(name)))
        self._hidden: Path | None = None
        self._count = 0
        if not self.target.parent.is_dir():
            raise OutputError(f"{os.path.dirname(name.rstrip('/')) or '.'}/: folder does not exist; create it first")
        if self.target.is_dir() and any(self.target.iterdir()) and not overwrite:
            raise OutputError(f"{name}: is not empty; choose another folder or allow its pictures to be replaced")

    @property
    def path(self) -> Path:
        """The hidden folder."""
        if self._hidden is None:
            self._hidden = hidden_folder(self.target)
        return self._hidden

    def write(self, rgb: Picture) -> None:
        """Save the next picture, uint8 (3, or 4 with transparency, height, width)."""
        from PIL import Image

        self._count += 1
        Image.fromarray(rgb.transpose(1, 2, 0).copy()).save(
            self.path / f"frame_{self._count:06d}.png", compress_level=4
        )

    def commit(self) -> None:
        """Move the pictures into place, replacing earlier numbered ones."""
        self.target.mkdir(exist_ok=True)
        for old in self.target.glob("frame_[0-9][0-9][0-9][0-9][0-9][0-9].png"):
            old.unlink()
        for picture in sorted(self.path.iterdir()):
            os.replace(picture, self.target / picture.name)
        self.discard()

    def discard(self) -> None:
        """Remove the hidden folder."""
        if self._hidden is not None:
            shutil.rmtree(self._hidden, ignore_errors=True)
            self._hidden = None
