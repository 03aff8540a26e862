"""Compares edits of real clips with the effect of their look, at the clips' own size.

    python benchmarks/looks.py --clips FOLDER [--model mini] [--looks snowy,sketch] [--frames 8] [--sheet FILE.png]

Each clip's first frames are edited with a look's first instruction and compared with the effect itself, applied to the
source at full size: PSNR and SSIM, mean over clips with 95 % bootstrap intervals, and how much frames differ from one
to the next beside the target's (1 is as steady; flakes and streaks of the target move, so weather is below). The clips
must be none that the model was trained on. `--sheet` saves one frame of each: a row a clip, the source first.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from eve_cli.data.looks import LOOKS
from eve_cli.editing import pipeline
from eve_cli.editing.request import EditRequest
from eve_cli.evaluation.metrics.pixels import ssim_map
from eve_cli.evaluation.statistics import bootstrap
from eve_cli.media.decode import VideoReader
from eve_cli.models.loading import LoadedModel, load_model
from eve_cli.models.spec import ModelSpec

DEFAULT = "snowy,rainy,foggy,night,sunset,sepia,sketch,watercolor,cartoon,pixel art"
SEED, HEIGHT = 1, 180


def read_frames(path: Path, count: int) -> tuple[Tensor, float]:
    """The first frames (n, 3, height, width) in [0, 1], and the time behind the last."""
    frames, end = [], 0.0
    with VideoReader(path, max_frames=count) as reader:
        for frame in reader:
            frames.append(torch.from_numpy(np.array(frame.rgb)))
            end = float(frame.pts + frame.duration)
    return torch.stack(frames).float() / 255, end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--looks", default=DEFAULT)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--only", default="", help="names of clips, separated by commas")
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    names = args.looks.split(",")
    scores: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}

    @cache
    def load(spec: ModelSpec) -> LoadedModel:
        return load_model(spec)

    rows = []
    selected = [name for name in args.only.split(",") if name]
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(args.clips.glob("*.mp4")):
            if selected and path.stem not in selected:
                continue
            source, end = read_frames(path, args.frames)
            cells = [source[len(source) // 2]]
            for name in names:
                result = Path(folder) / f"{path.stem}.{len(rows)}.mp4"
                instruction = LOOKS[name].instructions[0]
                request = EditRequest(
                    str(path), instruction, result, end=end, seed=SEED, model=args.model, overwrite=True
                )
                pipeline.edit(request, load=load)
                edited, target = read_frames(result, args.frames)[0], LOOKS[name].function(source, SEED, 0)
                scores[name].append((*likeness(edited, target), steadiness(edited, target)))
                cells.append(edited[len(edited) // 2])
            rows.append(cells)
    print(f"{'look':14}{'PSNR, dB':>24}{'SSIM':>24}{'change over time / target':>30}")
    for name, values in scores.items():
        psnr, ssim, steady = (bootstrap(torch.tensor(column)) for column in zip(*values, strict=True))
        cells = "".join(
            f"{m:10.{d}f} [{lo:.{d}f}, {hi:.{d}f}]" for (m, lo, hi), d in ((psnr, 1), (ssim, 3), (steady, 2))
        )
        print(f"{name:14}{cells}")
    if args.sheet:
        sheet(rows).save(args.sheet)


def likeness(edited: Tensor, target: Tensor) -> tuple[float, float]:
    """PSNR in dB and SSIM."""
    error = (edited - target).square().flatten(1).mean(1).mean()
    similar = ssim_map(edited, target)
    return float(-10 * torch.log10(error)), torch.nan if similar is None else float(similar.mean())


def steadiness(edited: Tensor, target: Tensor) -> float:
    """Mean difference from a frame to the next, as a share of the target's."""
    changes = [(clip[1:] - clip[:-1]).abs().mean() for clip in (edited, target)]
    return float(changes[0] / changes[1].clamp_min(1e-4))


def sheet(rows: list[list[Tensor]]) -> Image.Image:
    """One picture of rows of pictures, all of one height."""
    lines = []
    for row in rows:
        small = [Image.fromarray((cell * 255).byte().permute(1, 2, 0).numpy()) for cell in row]
        lines.append([picture.resize((round(picture.width * HEIGHT / picture.height), HEIGHT)) for picture in small])
    canvas = Image.new("RGB", (max(sum(p.width for p in line) for line in lines), HEIGHT * len(lines)), "white")
    for y, line in enumerate(lines):
        x = 0
        for picture in line:
            canvas.paste(picture, (x, y * HEIGHT))
            x += picture.width
    return canvas


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    main()
