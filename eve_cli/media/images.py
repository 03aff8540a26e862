"""Still pictures, and animations that only Pillow reads, as decoded pictures with times."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from eve_cli.errors import InputError
from eve_cli.media import color
from eve_cli.media.clip import Color, Orientation, Report, VideoInfo
from eve_cli.media.input_resolver import ResolvedInput

if TYPE_CHECKING:
    from av import VideoFrame
    from PIL.Image import Image

MILLISECOND = Fraction(1, 1000)


def is_animation(path: Path) -> bool:
    """Whether the file is an animated WebP."""
    with path.open("rb") as file:
        head = file.read(64)
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def _frame(image: Image, ticks: int, tick: Fraction) -> VideoFrame:
    import numpy as np
    from av import VideoFrame
    from PIL import ImageOps

    upright = _eight_bits(ImageOps.exif_transpose(image))
    mode, form = ("RGBA", "rgba") if upright.has_transparency_data else ("RGB", "rgb24")
    frame = VideoFrame.from_ndarray(np.asarray(upright.convert(mode)), form)  # from_image would drop the alpha
    frame.pts, frame.time_base = ticks, tick
    return frame


def _eight_bits(image: Image) -> Image:
    """The picture with 8 bits a channel; Pillow itself would cut 16-bit greys off."""
    if not image.mode.startswith("I"):
        return image
    import numpy as np
    from PIL import Image

    return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))


def _facts(name: str, path: Path, kind: str, first: VideoFrame, fps: Fraction, count: int) -> VideoInfo:
    return VideoInfo(
        name=name,
        path=str(path),
        container=kind,
        codec=kind,
        width=first.width,
        height=first.height,
        coded_width=first.width,
        coded_height=first.height,
        orientation=Orientation(),
        sar=Fraction(1),
        fps=fps,
        is_vfr=False,
        time_base=1 / fps,
        origin=Fraction(0),
        start=Fraction(0),
        duration=count / fps,
        expected_frames=count,
        pixel_format=first.format.name,
        bit_depth=8,
        color=Color(range="pc", transfer="iec61966-2-1", rgb=True),
        has_alpha=color.has_alpha(first),
        interlaced=False,
    )


class Images:
    """Picture files in natural order, `fps` of them a second."""

    def __init__(self, source: ResolvedInput, fps: Fraction) -> None:
        self._source, self._fps = source, fps
        kind = "picture" if source.pictures == (source.path,) else "images"
        self.info = _facts(source.name, source.path, kind, self._decode(0), fps, len(source.pictures))

    def _decode(self, number: int) -> VideoFrame:
        from PIL import Image, UnidentifiedImageError

        path = self._source.pictures[number]
        try:
            image = Image.open(path)
            image.load()
        except Image.DecompressionBombError:
            raise InputError(f"{path}: is too large a picture; make it smaller first") from None
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
            raise InputError(f"{path}: cannot be read as an image") from None
        return _frame(image, number, 1 / self._fps)

    def frames(self, start: Fraction | None, errors: str, report: Report) -> Iterator[tuple[VideoFrame, Fraction]]:
        """Read the pictures from `start` on, one at a time."""
        for number in range(int((start or 0) * self._fps), len(self._source.pictures)):
            try:
                picture = self._decode(number)
            except InputError as error:
                if errors == "raise" or number == 0:
                    raise
                report.corrupt += 1
                report.warn(str(error))
                continue
            report.decoded += 1
            yield picture, number / self._fps


class Animation:
    """An animated WebP, read with Pillow."""

    def __init__(self, source: ResolvedInput) -> None:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(source.path) as image:
                durations, count = [], getattr(image, "n_frames", 1)
                for number in range(count):
                    image.seek(number)
                    image.load()
                    durations.append(int(image.info.get("duration") or 40))
                image.seek(0)
                first = _frame(image, 0, MILLISECOND)
        except (UnidentifiedImageError, OSError, SyntaxError):
            raise InputError(f"{source.name}: cannot be read as an image") from None
        self._source, self._durations = source, durations
        steps = durations[:-1] or durations  # the last picture may be held
        fps = Fraction(1000 * len(steps), sum(steps))
        info = _facts(source.name, source.path, "webp", first, fps, count)
        changes = {
            "is_vfr": len(set(steps)) > 1,
            "time_base": MILLISECOND,
            "duration": Fraction(sum(durations), 1000),
        }
        self.info = VideoInfo(**{**vars(info), **changes})

    def frames(self, start: Fraction | None, errors: str, report: Report) -> Iterator[tuple[VideoFrame, Fraction]]:
        """Read the frames one after the other; `start` is left to the caller."""
        from PIL import Image

        time = 0
        with Image.open(self._source.path) as image:
            for number, duration in enumerate(self._durations):
                image.seek(number)
                frame = _frame(image, time, MILLISECOND)
                frame.duration = duration
                report.decoded += 1
                yield frame, time * MILLISECOND
                time += duration
