"""One picture as a result: PNG, JPEG, WebP or AVIF, with the colour profile and the tags of its source."""

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

TYPES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".avif": "AVIF"}
QUALITY = 95
ORIENTATION, DESCRIPTION, EXIF, USER_COMMENT = 0x0112, 0x010E, 0x8769, 0x9286  # EXIF tags

XMP_TEXT = "XML:com.adobe.xmp"  # the text of a PNG that holds XMP


def type_like(name: str) -> str:
    """The ending of a result: that of its source, or .png where that cannot be written."""
    ending = Path(name).suffix.lower()
    return {".jpeg": ".jpg"}.get(ending, ending) if ending in TYPES else ".png"


class StillWriter:
    """Write one picture, used as a VideoWriter is; it appears complete, or not at all after an error.

    The colour profile, the resolution, the texts, XMP and EXIF tags of `source` stay. `comment` becomes the EXIF
    description, or the user comment where there is a description. With `lossless` a WebP keeps every pixel, as a PNG
    does.
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
            self._kept = {name: image.info[name] for name in ("dpi", "xmp") if image.info.get(name)}
            self._texts: dict[str, str] = dict(getattr(image, "text", {}))
        self._exif.pop(ORIENTATION, None)
        if comment and self._exif.get(DESCRIPTION):
            self._exif.get_ifd(EXIF)[USER_COMMENT] = b"ASCII\0\0\0" + comment.encode("ascii", "backslashreplace")
        elif comment:
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
        options: dict[str, Any] = {"exif": self._exif, "icc_profile": self._profile, **self._kept}
        if self._format == "PNG":
            options["pnginfo"] = self._png_texts()
        if self._format == "AVIF":
            options |= {"quality": QUALITY, "subsampling": "4:4:4"}
        if self._format == "JPEG":
            options |= {"quality": QUALITY, "subsampling": 0}
        if self._format == "WEBP":
            options |= {"quality": QUALITY, "lossless": self._lossless, "exact": True}
        return options

    def _png_texts(self) -> Any:
        from PIL.PngImagePlugin import PngInfo

        texts = PngInfo()
        for key, value in self._texts.items():
            if key != XMP_TEXT:
                texts.add_itxt(key, value)
        if "xmp" in self._kept:
            texts.add_itxt(XMP_TEXT, self._kept["xmp"].decode(errors="replace"))
        return texts

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
