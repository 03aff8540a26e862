"""How well an edit made at 64 pixels comes back at full size, by kind of edit and way back.

Each edit is made by program at full size (the truth) and, through a blurring stand-in for the codec, at 64 x 64;
printed is the PSNR in dB of each way back against the truth, mean over clips. `--error` adds what a model gets wrong.

    python benchmarks/detail.py --clips FOLDER [--error 0.03] [--frame 10]
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from eve_cli.editing import detail
from eve_cli.media.decode import VideoReader

SEPIA = torch.tensor([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])
Way = Callable[[Tensor, Tensor, Tensor], Tensor]


def enlarge(frames: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(frames, [*like.shape[-2:]], mode="bicubic")


def plain(source: Tensor, before: Tensor, after: Tensor) -> Tensor:
    return enlarge(after, source)


def add(source: Tensor, before: Tensor, after: Tensor) -> Tensor:
    return source + enlarge(after - before, source)


def fade(source: Tensor, before: Tensor, after: Tensor) -> Tensor:
    change = enlarge(after - before, source)
    weight = torch.exp(-((change.norm(dim=1, keepdim=True) / 0.25) ** 2))
    return source + change + (weight - 1) * (source - enlarge(before, source))


def affine(source: Tensor, before: Tensor, after: Tensor) -> Tensor:
    return detail.apply(source, detail.plan(before, after))


WAYS: dict[str, Way] = {"up-sampled": plain, "source + change": add, "faded by change": fade, "eve": affine}


def axes(frame: Tensor) -> tuple[Tensor, Tensor]:
    height, width = frame.shape[-2:]
    return torch.linspace(0, 1, height).view(1, 1, -1, 1), torch.linspace(0, 1, width).view(1, 1, 1, -1)


def disc(frame: Tensor, y: float, x: float, tall: float, wide: float) -> Tensor:
    rows, columns = axes(frame)
    return torch.sigmoid((1 - torch.sqrt(((rows - y) / tall) ** 2 + ((columns - x) / wide) ** 2)) * 40)


def color(*rgb: float) -> Tensor:
    return torch.tensor(rgb).view(1, 3, 1, 1)


def edits(frame: Tensor, other: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Named edits of a frame (1, 3, height, width); `other` is another scene of that size."""
    rows, columns = axes(frame)
    yield "night", frame * color(0.3, 0.35, 0.5)
    yield "sepia", torch.einsum("ij,bjhw->bihw", SEPIA, frame).clamp(0, 1)
    haze = 0.35 + 0.45 * (1 - rows)
    yield "fog", frame * (1 - haze) + 0.82 * haze
    yield "snow", frame + 0.75 * torch.sigmoid((rows - 0.45) * 12) * (color(0.95, 0.96, 1.0) - frame)
    grey = frame.mean(1, keepdim=True)
    steps = functional.pad(grey.diff(dim=-1).abs(), (0, 1)) + functional.pad(grey.diff(dim=-2).abs(), (0, 0, 0, 1))
    yield "sketch", (1 - 5 * steps).clamp(0, 1).expand_as(frame)
    soft = enlarge(functional.adaptive_avg_pool2d(frame, 96), frame)
    tint = soft - soft.mean(1, keepdim=True)
    centre = tint[..., frame.shape[-2] // 2, frame.shape[-1] // 2].view(1, 3, 1, 1)
    mask = torch.exp(-(((tint - centre).norm(dim=1, keepdim=True) / 0.08) ** 2))
    yield "recolour", frame * (1 - mask) + frame[:, [1, 2, 0]] * mask
    mask = disc(frame, 0.55, 0.4, 0.22, 0.18)
    yield "added", frame * (1 - mask) + mask * color(0.8, 0.15, 0.1) * (1.1 - 0.4 * rows)
    mask = torch.sigmoid((0.5 - rows) * 30 + torch.sin(columns * 9))
    yield "background", frame * (1 - mask) + other * mask
    mask = disc(frame, 0.5, 0.6, 0.3, 0.2)
    stripes = (torch.sin(columns * 60) > 0).float() * color(0.9, 0.9, 0.2)
    yield "texture", frame * (1 - mask) + mask * (frame * 0.4 + 0.6 * stripes)
    mask = disc(frame, 0.5, 0.5, 0.3, 0.2)
    yield "removed", frame * (1 - mask) + mask * enlarge(functional.adaptive_avg_pool2d(frame, 5), frame).clamp(0, 1)


def small(frame: Tensor) -> Tensor:
    """64 x 64, and a little blurred, as a codec gives it back."""
    less = functional.interpolate(frame, (64, 64), mode="area")
    kernel = torch.tensor([0.2, 0.6, 0.2])
    kernel = (kernel[:, None] * kernel).expand(3, 1, 3, 3)
    return functional.conv2d(functional.pad(less, (1,) * 4, mode="replicate"), kernel, groups=3)


def errors(size: float, like: Tensor, seed: int) -> Tensor:
    """Smooth random errors of standard deviation `size`."""
    noise = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))
    smooth = functional.avg_pool2d(functional.pad(noise, (1,) * 4, mode="replicate"), 3, 1)
    return size * smooth / smooth.std()


def frame_of(path: Path, number: int) -> Tensor:
    with VideoReader(path, max_frames=number + 1) as reader:
        rgb = [frame.rgb for frame in reader][-1]
    return torch.from_numpy(rgb.copy()).float()[None] / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True, help="folder of real clips")
    parser.add_argument("--error", type=float, default=0.0)
    parser.add_argument("--frame", type=int, default=10)
    parser.add_argument("--every", type=int, default=1, help="take every n-th clip")
    options = parser.parse_args()
    frames = [frame_of(path, options.frame) for path in sorted(options.clips.glob("*.mp4"))[:: options.every]]
    scores: dict[str, dict[str, list[float]]] = {way: {} for way in WAYS}
    for number, frame in enumerate(frames):
        other_scene = enlarge(frames[number - 1], frame).clamp(0, 1)
        for name, truth in edits(frame, other_scene):
            after = small(truth) + errors(options.error, small(truth), number)
            for way, bring_back in WAYS.items():
                result = bring_back(frame, small(frame), after).clamp(0, 1)
                score = -10 * (result - truth).pow(2).mean().log10()
                scores[way].setdefault(name, []).append(float(score))
    kinds = list(scores["eve"])
    print(f"| error {options.error:g}, {len(frames)} clips | {' | '.join(kinds)} | mean |")
    print("|---" * (len(kinds) + 2) + "|")
    for way, by_kind in scores.items():
        means = [sum(by_kind[kind]) / len(frames) for kind in kinds]
        cells = " | ".join(f"{mean:.1f}" for mean in [*means, sum(means) / len(means)])
        print(f"| {way} | {cells} |")


if __name__ == "__main__":
    main()
