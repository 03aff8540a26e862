"""One picture as a result: PNG, JPEG or WebP, with the colour profile and the tags of its source."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from eve_cli.errors import OutputError
from eve_cli.media.clip import Picture
from eve_cli.storage.atomic import AtomicFile
from eve_cli.storage.paths import expanded

if TYPE_CHECKING:
    from PIL.Image import Image

TYPES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
QUALITY = 95
ORIENTATION, DESCRIPTION = 0x0112, 0x010E  # EXIF tags


def type_like(name: str) -> str:
    """The ending of a result: that of its source, or .png where that cannot be written."""
    ending = Path(name).suffix.lower()
    return {".jpeg": ".jpg"}.get(ending, ending) if ending in TYPES else ".png"


class StillWriter:
    """Write one picture, used as a VideoWriter is; it appears complete, or not at all after an error.

    The colour profile and the EXIF tags of `source` stay, and `comment` becomes the EXIF description. With `lossless` a
    WebP keeps every pixel, as a PNG does.
    """

    def __init__(
        self, dst: str, source: str, overwrite: bool = True, comment: str = "", lossless: bool = False
    ) -> None:
        from PIL import Image

        self._name, self._lossless = dst, lossless
        self._format = TYPES[Path(dst).suffix.lower()]
        self._file = AtomicFile(dst, overwrite)
        self.notes: list[str] = []
        with Image.open(expanded(source)) as image:
            self._profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P") else None
            self._exif = image.getexif()
        self._exif.pop(ORIENTATION, None)
        if comment:
            self._exif[DESCRIPTION] = comment

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._file.discard()

    def write(
        self,
        rgb: Picture,
        pts: Fraction | None = None,
        duration: Fraction | None = None,
        alpha: Picture | None = None,
    ) -> None:
        """Save the picture, uint8 (3, height, width), with `alpha` (height, width) if it has one; times say nothing.

        A JPEG cannot store transparency: the picture is blended onto white, with a note.
        """
        image = self._blended(rgb, alpha)
        try:
            image.save(self._file.path, self._format, **self._options())
            self._file.commit()
        except OSError as error:
            self._file.discard()
            reason = os.strerror(error.errno).lower() if error.errno else str(error)
            raise OutputError(f"{self._name}: cannot write the picture ({reason}); nothing was written") from error
        except BaseException:
            self._file.discard()
            raise

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"exif": self._exif, "icc_profile": self._profile}
        if self._format == "JPEG":
            options |= {"quality": QUALITY, "subsampling": 0}
        if self._format == "WEBP":
            options |= {"quality": QUALITY, "lossless": self._lossless, "exact": True}
        return options

    def _blended(self, rgb: Picture, alpha: Picture | None) -> Image:
        from PIL import Image

        image = Image.fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0)))
        if alpha is None:
            return image
        alpha_image = Image.fromarray(np.ascontiguousarray(alpha))
        if self._format == "JPEG":
            self.notes.append(f"{self._name}: a JPEG cannot be transparent; a .png or .webp can")
            return Image.composite(image, Image.new("RGB", image.size, "white"), alpha_image)
        image.putalpha(alpha_image)
        return image
