"""Speed of evaluation: frames a second of each metric, batches against single frames, CLIPFrame's two formulas.

    OMP_NUM_THREADS=1 python benchmarks/eval.py [--frames 16] [--size 256] [--weights DIR] [--device cpu]

With one thread the seconds are those of the processor, so that a busy machine does not matter.

Metrics whose weights are not there are not run. Without CLIP L/14 the batches are those of a small CLIP with random
weights: they show what a batch saves in preparing frames, not how fast the real one is.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eve_cli.data.world.edits import render_edit, sample_edit
from eve_cli.evaluation.metrics import METRICS
from eve_cli.evaluation.metrics.base import Cache, EditClip
from eve_cli.evaluation.metrics.networks import WithClip
from eve_cli.evaluation.metrics.similarity import all_pairs
from eve_cli.evaluation.pairs import Pair
from eve_cli.evaluation.weights import Weights
from eve_cli.perception.clip import Clip
from eve_cli.registry import load


def seconds(work: Callable[[], object], least: float = 0.5) -> float:
    """The best time of one call, called for at least so many seconds; on one CPU thread the thread's own time."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    work()
    best, start = float("inf"), clock()
    while clock() - start < least:
        before = clock()
        work()
        best = min(best, clock() - before)
    return best


def sample_clip(frames: int, size: int) -> EditClip:
    edit = sample_edit(2**41 + 1, "remove", held_out=None)  # a task that the world's encoders score
    rendered = render_edit([edit], frames, size, truth=True)
    source, edited = ((clip[0] * 255).round().to(torch.uint8) for clip in (rendered.source, rendered.edited))
    assert rendered.after.flow is not None and rendered.after.visible is not None
    pair = Pair("a", "a", edit.task, Path("a"), Path("b"), edit.instruction, edit.source_caption, edit.caption)
    world = {"flow": rendered.after.flow[0], "visible": rendered.after.visible[0]}
    return EditClip(pair, edited, source, mask=rendered.changed[0], reference=edited, world=world)


def each_metric(clip: EditClip, weights: Weights, device: str) -> None:
    print("| metric | frames a second | |\n|---|---|---|")
    for name, spec in METRICS.items():
        metric = load(spec)(weights, device)
        missing = metric.missing()
        if missing:
            print(f"| {name} | not run | {missing} |")
            continue
        metric.open()

        def work(metric=metric) -> None:
            clip.cache = Cache()
            metric.score(clip)

        print(f"| {name} | {len(clip.edited) / seconds(work):,.1f} | |")


def batches(clip: EditClip, encoder: Clip, title: str) -> None:
    print(f"\n| {title} | frames a second |\n|---|---|")
    for size in (1, 4, 16, 32):
        encoder.batch = size
        rate = len(clip.edited) / seconds(lambda: encoder.encode_frames(clip.edited, 480))
        print(f"| in batches of {size} | {rate:,.1f} |")


def double_loop(features: torch.Tensor) -> float:
    """As the TGVE script has it: every pair by itself."""
    n = len(features)
    rows = features / features.norm(dim=1, keepdim=True)
    return sum(float(rows[i] @ rows[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))


def formulas() -> None:
    print("\n| frames | closed form | double loop | difference |\n|---|---|---|---|")
    for n in (8, 32, 128):
        features = torch.randn(n, 768, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
        closed, loop = (seconds(lambda f=f, x=features: f(x), 0.2) for f in (all_pairs, double_loop))
        apart = abs(all_pairs(features) - double_loop(features))
        print(f"| {n} | {closed * 1e6:,.0f} us | {loop * 1e6:,.0f} us | {apart:.0e} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    clip, weights = sample_clip(options.frames, options.size), Weights(options.weights)
    each_metric(clip, weights, options.device)
    trouble = weights.trouble(WithClip.checkpoint)
    if trouble is None:
        batches(clip, Clip.load(weights.find(WithClip.checkpoint), options.device), "CLIP L/14")
    else:
        from tests.encoders import clip_folder

        with tempfile.TemporaryDirectory() as folder:
            batches(clip, Clip.load(clip_folder(Path(folder) / "clip"), options.device), "a small CLIP, random weights")
    formulas()


if __name__ == "__main__":
    main()
