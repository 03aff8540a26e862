"""Frames into a file: exact colour and times, the source's sound and tags; complete or not at all."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from fractions import Fraction
from types import TracebackType
from typing import Literal, Self

import numpy as np

from eve_cli.errors import OutputError
from eve_cli.media import codecs, color, tags
from eve_cli.media.clip import Picture, VideoInfo
from eve_cli.media.mux import Output, OutputSettings, QueuedFrame, open_output
from eve_cli.media.pictures import PictureFolder, is_folder
from eve_cli.media.threads import BackgroundWorker
from eve_cli.storage.atomic import AtomicFile

ALPHA_DROPPED = (
    "the source is partly transparent and the result is not; vp9 in .webm, prores in .mov or a folder/ keep it"
)
FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


class VideoWriter:
    """Write a clip; with `like`, the timing, colour, sound and tags of that source are kept.

    `dst` is a video file or a folder (PNG files); `size` is (width, height); `fps` is the frame length where neither
    `like` nor `write` says it. `record` becomes the comment, or the description where the source has a comment. The
    file appears complete at `close`, or not at all when an error leaves the `with`.
    Raises OutputError where it cannot be written.
    """

    def __init__(
        self,
        dst: str | os.PathLike[str],
        like: VideoInfo | None = None,
        size: tuple[int, int] | None = None,
        codec: str = "h264",
        crf: float | None = None,
        preset: str = "medium",
        audio: Literal["copy", "none"] = "copy",
        overwrite: bool = True,
        record: str | None = None,
        fps: float | Fraction | None = None,
    ) -> None:
        self._name = os.fspath(dst)
        self._like, self._size, self._crf, self._preset = like, size, crf, preset
        self._sound, self._labels = audio == "copy", tags.with_record(like, record)
        self._fps = Fraction(fps).limit_denominator(100_000) if fps else like.fps if like else Fraction(25)
        self._file: AtomicFile | PictureFolder
        if codec == "png" or is_folder(self._name):
            self._file, self._codec = PictureFolder(self._name, overwrite), None
        else:
            self._codec = codecs.choose(self._name, codec)
            self._file = AtomicFile(self._name, overwrite)
        self.notes: list[str] = codecs.notes(self._codec, codec)
        if self._codec is None and like is not None and (like.audio or like.is_vfr):
            self.notes.append(f"{self._name}: a folder of PNG files holds neither sound nor times")
        self._worker: BackgroundWorker[QueuedFrame] | BackgroundWorker[Picture] | None = None
        self._output: Output | None = None
        self._zero: Fraction | None = None
        self._next = Fraction(0)
        self._done = self._see_through = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def rehearse(self, width: int, height: int) -> None:
        """Open the encoder at this size and write a header with every stream, then remove it all.

        OutputError for what would otherwise end the writing of the first picture. Nothing is kept but the notes.
        """
        if isinstance(self._file, PictureFolder):
            return
        black = np.zeros((3, height, width), np.uint8)
        try:
            self._queue_frame(black, self._like.start if self._like else Fraction(0), 1 / self._fps)
            assert self._worker is not None
            self._worker.close()
            if self._output is not None:
                self._output.flush()
        except BaseException as error:
            self._fail(error)
        finally:
            self.abort()

    def write(
        self,
        rgb: Picture,
        pts: Fraction | None = None,
        duration: Fraction | None = None,
        alpha: Picture | None = None,
    ) -> None:
        """Queue one picture, uint8 (3, height, width), shown at `pts` seconds of the source's time.

        Without `pts` it follows the one before. `alpha`, uint8 (height, width), is kept if the file can hold it and the
        first picture is partly transparent; else a note says that it is lost.
        """
        pts = self._next if pts is None else Fraction(pts)
        duration = 1 / self._fps if duration is None else Fraction(duration)
        self._next = pts + duration
        try:
            if not self._see_through and alpha is not None and alpha.min() < 255:
                self._see_through = self._worker is None and self._can_keep_alpha()
                if not self._see_through and ALPHA_DROPPED not in self.notes:
                    self.notes.append(ALPHA_DROPPED)
            if self._see_through:
                rgb = np.concatenate([rgb, np.full_like(rgb[:1], 255) if alpha is None else alpha[None]])
            if isinstance(self._file, PictureFolder):
                self._queue_picture(self._file, rgb)
            else:
                self._queue_frame(rgb, pts, duration)
        except BaseException as error:
            self._fail(error)

    def _can_keep_alpha(self) -> bool:
        """Switch to a pixel format with transparency; False where the file cannot hold it."""
        if self._codec is None:
            return True
        samples = self._codec.alpha.get(os.path.splitext(self._name)[1].lower())
        self._codec = replace(self._codec, pixel_format=samples or self._codec.pixel_format)
        return samples is not None

    def _queue_picture(self, folder: PictureFolder, rgb: Picture) -> None:
        if self._worker is None:
            self._worker = BackgroundWorker(folder.write)
        self._worker.put(rgb.copy())  # pyright: ignore[reportArgumentType]

    def _queue_frame(self, rgb: Picture, pts: Fraction, duration: Fraction) -> None:
        height, width = rgb.shape[1:]
        if self._zero is None:
            self._zero = pts if self._like is None or self._like.cut_start else min(pts, Fraction(0))
        settings = self._settings()
        frame = color.from_planes(rgb, *(settings.padded(width, height) if self._size is None else (width, height)))
        if self._worker is None:
            self._output = open_output(settings, frame, (width, height), self._zero)
            self.notes.extend(self._output.notes)
            self._worker = BackgroundWorker(self._output.encode)
        self._worker.put(QueuedFrame(frame, pts - self._zero, duration))  # pyright: ignore[reportArgumentType]

    def _settings(self) -> OutputSettings:
        assert self._codec is not None
        crf = self._codec.crf if self._crf is None else self._crf
        choice = (self._like, self._size, self._codec, crf, self._preset, self._sound, self._labels, self._fps)
        return OutputSettings(self._file.path, *choice)

    def close(self) -> None:
        """Finish the file and put it in place."""
        if self._done:
            return
        try:
            if self._worker is None:
                raise OutputError(f"{self._name}: no frame was written")
            self._worker.close()
            if self._output is not None:
                self._output.finish()
                self.notes += [note for note in self._output.notes if note not in self.notes]  # of damage on the way
            self._file.commit()
            self._done = True
        except BaseException as error:
            self._fail(error)

    def abort(self) -> None:
        """Leave the target as it was."""
        if self._done:
            return
        self._done = True
        if self._worker is not None:
            self._worker.close(drop=True)
        if self._output is not None:
            self._output.discard()
        self._file.discard()

    def _fail(self, error: BaseException) -> None:
        """Clean up, and raise the error as an OutputError."""
        import av

        size = _size(self._file)
        self.abort()
        number = error.errno if isinstance(error, OSError | av.FFmpegError) else None
        if number in FULL:
            raise OutputError(f"{self._name}: disk full{self._written_text(size)}; nothing was written") from error
        if isinstance(error, av.FFmpegError):
            what = error.strerror if isinstance(error, OSError) and number else "it refused these frames or settings"
            raise OutputError(f"{self._name}: the encoder stopped ({what}); nothing was written") from error
        raise error

    def _written_text(self, size: int) -> str:
        """How much was written, and how much the whole file would take."""
        text = f" after {size / 1e6:.0f} MB"
        like = self._like
        if like is None or like.duration is None or self._zero is None or self._next <= self._zero or not size:
            return text
        total = size * float(like.duration / (self._next - self._zero))
        return f"{text} (need about {total / 1e9:.1f} GB)"


def _size(file: AtomicFile | PictureFolder) -> int:
    return file.path.stat().st_size if isinstance(file, AtomicFile) and file.path.exists() else 0
