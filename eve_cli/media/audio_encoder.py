"""Sound that is encoded again: decoded, brought to a layout and rate of the encoder, and placed in time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from eve_cli.media.span import Span

if TYPE_CHECKING:
    from av.container import OutputContainer

DOWN_MIXES = ("5.1", "stereo", "mono")
"""Layouts that are tried where an encoder has neither the source's nor the usual one of as many channels."""
CONTIGUOUS = Fraction(20, 1000)
"""Seconds between the times of two frames and the samples of the first that are rounding, not a gap or overlap."""


class EncodedAudio:
    """A sound stream in a form the container cannot hold, encoded again in the nearest layout and rate there is."""

    def __init__(self, source: Any, output: OutputContainer, encoder: str, span: Span) -> None:
        context: Any = source.codec_context
        layout, rate = _accepted(encoder, context)
        name = context.layout.name
        if _is_unspecified(context.layout):
            context.layout = name = _usual_layout(context.layout.nb_channels)
        self.layouts = (name, layout)
        stream: Any = output.add_stream(encoder, rate=rate)
        stream.codec_context.layout = layout
        stream.codec_context.bit_rate = 192_000
        stream.codec_context.open()
        self._source, self._span, self._next = source, span, Fraction(0)
        self._samples = EncoderFrames(stream.codec_context)
        self.stream = stream

    def packets(self, packet: Any) -> Iterator[Any]:
        """Decode, resample and encode; frames wholly before the span are dropped."""
        yield from self._encoded(self._source.decode(packet) if packet.size else [])

    def rest(self) -> Iterator[Any]:
        """Flush the decoder, the resampler and the encoder."""
        yield from self._encoded(self._source.decode(None))
        for ready in self._samples.rest():
            yield from self.stream.encode(ready)
        yield from self.stream.encode(None)

    def _encoded(self, frames: Iterable[Any]) -> Iterator[Any]:
        for frame in frames:
            if frame.pts is not None:
                self._next = frame.pts * Fraction(frame.time_base or self._source.time_base)
            start = self._next  # of a frame without a time, which a decoder's last may be: the end of the one before
            self._next += Fraction(frame.samples, frame.sample_rate)
            if self._span.from_start or start >= self._span.zero:
                frame.pts = round((start - self._span.zero) * frame.sample_rate)
                frame.time_base = Fraction(1, frame.sample_rate)
                for ready in self._samples.of(frame):
                    yield from self.stream.encode(ready)


class EncoderFrames:
    """Frames of any layout and rate, as frames for an encoder whose times grow with their samples.

    Where sound is missing, times leap; where it overlaps with what was before, it is cut.
    """

    def __init__(self, encoder: Any) -> None:
        from av import AudioResampler

        self._form = (encoder.format, encoder.layout, encoder.sample_rate)
        self._size = encoder.frame_size or 1
        self._frames = AudioResampler(*self._form, encoder.frame_size or None)
        self._resampler: Any = None
        self._source_form: tuple[Any, ...] | None = None
        self._count = 0
        self._at: int | None = None

    def of(self, frame: Any) -> Iterator[Any]:
        """Frames that are ready after one more of the source's, whose layout and rate may be others than before."""
        from av import AudioResampler

        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._source_form:
            yield from self._flushed()
            self._source_form, self._resampler = form, AudioResampler(*self._form)
        for each in self._resampler.resample(frame):
            yield from self._placed(each)

    def rest(self) -> Iterator[Any]:
        """The last frames."""
        yield from self._flushed()
        yield from self._frames.resample(None)

    def _flushed(self) -> Iterator[Any]:
        for each in self._resampler.resample(None) if self._resampler else ():
            yield from self._placed(each)

    def _placed(self, frame: Any) -> Iterator[Any]:
        start = round(frame.pts * Fraction(frame.time_base) * self._form[2])
        end = start if self._at is None else self._at
        gap = 0 if abs(start - end) <= CONTIGUOUS * self._form[2] else start - end
        if gap > 0 and (missing := min(gap, -self._count % self._size)):
            yield from self._added(_silence(frame, missing), end)
        if gap < 0:
            frame = _without(frame, -gap)
        if frame is not None:
            yield from self._added(frame, end + max(gap, 0))

    def _added(self, frame: Any, start: int) -> Iterator[Any]:
        frame.pts, frame.time_base = start, Fraction(1, self._form[2])
        self._at, self._count = start + frame.samples, self._count + frame.samples
        yield from self._frames.resample(frame)


def _silence(like: Any, samples: int) -> Any:
    import numpy as np

    array = like.to_ndarray()
    width = samples * (1 if like.format.is_planar else like.layout.nb_channels)
    return _audio_frame(like, np.zeros((len(array), width), array.dtype))


def _without(frame: Any, samples: int) -> Any:
    """A frame without its first samples; None where that is all."""
    if samples >= frame.samples:
        return None
    first = samples * (1 if frame.format.is_planar else frame.layout.nb_channels)
    return _audio_frame(frame, frame.to_ndarray()[:, first:].copy())


def _audio_frame(like: Any, array: Any) -> Any:
    import av

    frame = av.AudioFrame.from_ndarray(array, like.format.name, like.layout.name)
    frame.sample_rate = like.sample_rate
    return frame


def _is_unspecified(layout: Any) -> bool:
    """Whether a layout says nothing but how many channels there are."""
    return layout.name == f"{layout.nb_channels} channels"


def _usual_layout(channels: int) -> str:
    """The default layout of a number of channels; stereo where there is none."""
    import av

    layout = av.AudioLayout(f"{channels}c")
    return "stereo" if _is_unspecified(layout) else layout.name


def _accepted(encoder: str, source: Any) -> tuple[str, int]:
    """The layout and sample rate nearest to the source's that an encoder opens with; raises av.FFmpegError."""
    import av

    rates: Any = av.Codec(encoder, "w").audio_rates
    larger = [rate for rate in rates or () if rate >= source.sample_rate]
    rate = min(larger) if larger else max(rates) if rates else source.sample_rate
    own = () if _is_unspecified(source.layout) else (source.layout.name,)
    error: Exception = ValueError(f"{encoder} takes none of these layouts")
    for layout in (*own, _usual_layout(source.layout.nb_channels), *DOWN_MIXES):
        context: Any = av.CodecContext.create(encoder, "w")
        context.layout, context.sample_rate, context.bit_rate = layout, rate, 192_000
        context.format = context.codec.audio_formats[0]
        try:
            context.open()
            return layout, rate
        except (av.FFmpegError, ValueError) as refused:
            error = refused
    raise error
