"""How a clip is split into windows that a video model can process, and how a window continues the one before."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from eve_cli.diffusion.samplers import Correct


@dataclass(frozen=True)
class Window:
    """Frames `start` to `stop` of a clip; the first `overlap` of them were edited by the window before."""

    index: int
    start: int
    stop: int
    overlap: int

    @property
    def name(self) -> str:
        """What people call it; a window that is no part of a plan has no number."""
        return f"window {self.index + 1}" if self.index >= 0 else f"frames {self.start}-{self.stop - 1}"

    @property
    def frames(self) -> range:
        """All frames, by absolute index."""
        return range(self.start, self.stop)

    @property
    def new(self) -> range:
        """The frames that this window is the one to edit."""
        return range(self.start + self.overlap, self.stop)


def split(frames: int, window: int, overlap: int) -> Iterator[tuple[int, int, int]]:
    """(start, stop, overlap) of windows over `frames` frames, each frame new in exactly one of them.

    Every window is `window` frames long unless there are fewer in all; the last one overlaps more to fit
    (InsV2V's sliding window, except that no overlap is ever smaller than `overlap`).
    """
    stop = min(frames, window)
    yield 0, stop, 0
    while stop < frames:
        new = min(frames - stop, window - overlap)
        stop += new
        yield stop - window, stop, window - new


def plan_windows(shots: Iterable[range], window: int, overlap: int) -> list[Window]:
    """The windows of a clip, shot by shot: none crosses a cut."""
    spans = [
        (shot.start + start, shot.start + stop, shared)
        for shot in shots
        for start, stop, shared in split(len(shot), window, overlap)
    ]
    return [Window(index, *span) for index, span in enumerate(spans)]


def plan_spans(shots: Iterable[range], span: int, overlap: int) -> list[Window]:
    """The stretches of a clip whose windows are denoised together: shots, the longer ones cut into even parts."""
    spans: list[Window] = []
    for shot in shots:
        parts = max(-(-(len(shot) - overlap) // (span - overlap)), 1)
        length = -(-(len(shot) + (parts - 1) * overlap) // parts)
        for part in range(parts):
            start = shot.start + part * (length - overlap)
            stop = min(start + length, shot.stop)
            spans.append(Window(len(spans), start, stop, overlap if part else 0))
    return spans


def shots_between(cuts: Sequence[int], frames: int) -> list[range]:
    """The shots of a clip of `frames` frames; a cut is the index of the first frame of a new shot."""
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < frames}), frames]
    return [range(start, stop) for start, stop in pairwise(edges)]


def corrected_steps(steps: int) -> int:
    """In how many first steps the overlap is fixed to the window before: half of many, all but the last of few."""
    return steps - 1 if steps <= 4 else steps // 2


def hold_to(reference: Tensor, steps: int) -> Correct:
    """A correction that puts the first frames of a window on frames that are edited already.

    `reference` is (batch, overlap, channels, height, width) of clean latents. Over the first part of the steps the
    overlapping frames become the reference, and the other frames move by the mean difference: Long Video Sampling
    Correction (Cheng et al. 2023, InsV2V), on the clean estimate instead of on the noise, where it also holds at zero
    signal.
    """
    count = reference.shape[1]
    last = corrected_steps(steps)

    def correct(step: int, noisy: Tensor, clean: Tensor, t: Tensor) -> Tensor:
        if step >= last:
            return clean
        moved = clean + (reference - clean[:, :count]).mean(1, keepdim=True)
        moved[:, :count] = reference
        return moved

    return correct
