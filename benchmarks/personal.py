"""A subject and a style of one's own: does alignment keep them better than plugging the LoRA in?

    python benchmarks/personal.py subject PLUGGED ALIGNED [--edits 40] [--steps 10] [--strip strip.png]
    python benchmarks/personal.py ball PLUGGED ALIGNED
    python benchmarks/personal.py style PLUGGED ALIGNED

PLUGGED is a LoRA of `eve train lora`, ALIGNED what `eve align --teachers edit,lora:PLUGGED` made of it; both edit the
same held-out pictures with the edit adapter, from the same noise and the instruction alone.

style: the truth is known (the picture itself in two inks). subject, ball: a small network, trained here on drawings
with the robot (the ball) and without, says whether it is there; the world's own balls are among those without. `kept`
is the PSNR of the three quarters of the picture that changed least. Intervals are 95 % bootstrap, over pictures;
`aligned - plugged` is paired.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eve_cli.data.inputs import BRING
from eve_cli.data.world import novel
from eve_cli.data.world.render import render
from eve_cli.data.world.scene import sample_scene
from eve_cli.evaluation import truth
from eve_cli.evaluation.probe import degrade
from eve_cli.evaluation.statistics import bootstrap
from eve_cli.media.compose import save_png
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.per_frame import PerFrame
from eve_cli.models import lora
from eve_cli.models.editor import Editor

FIRST_SEED = 2**41 + 400_000  # seeds that no training draws
SIDE = 64


def sources(count: int, first: int = FIRST_SEED) -> Tensor:
    """Held-out pictures (count, 3, SIDE, SIDE)."""
    return render([sample_scene(first + i, held_out=None) for i in range(count)], [0], SIDE).frames[:, 0]


def probe(kind: str, steps: int = 400, batch: int = 32) -> Callable[[Tensor], Tensor]:
    """Pictures (n, 3, SIDE, SIDE) to the probability that the subject is there; says how often it is right."""
    torch.manual_seed(0)
    widths, rng = (3, 32, 64, 96, 128), random.Random(kind)
    body = [m for a, b in pairwise(widths) for m in (nn.Conv2d(a, b, 4, 2, 1), nn.GroupNorm(8, b), nn.SiLU())]
    net = nn.Sequential(*body, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 1))

    def labelled_pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
        with_subject, _ = novel.SETS[kind]("<toy>", count, SIDE, seed)
        pictures = torch.cat([with_subject, sources(count, 2**40 + 1000 * seed)])
        return pictures, torch.cat([torch.ones(count), torch.zeros(count)])

    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    pool = [labelled_pictures(64, 100 + i) for i in range(16)]
    for step in range(steps):
        pictures, label = pool[step % len(pool)]
        batch_rows = torch.randperm(len(pictures))[:batch]
        loss = F.binary_cross_entropy_with_logits(net(degrade(pictures[batch_rows], rng)).squeeze(1), label[batch_rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        pictures, label = labelled_pictures(100, 7)
        print(f"probe: right on {float(((net(pictures).squeeze(1) > 0) == (label > 0)).float().mean()):.3f} of 200")
    return lambda pictures: net(pictures).squeeze(1).sigmoid()


@torch.no_grad()
def edited(weights: lora.Lora, pictures: Tensor, instructions: list[str], steps: int) -> Tensor:
    """The pictures as the edit adapter and a LoRA together edit them."""
    editor = Editor.load("mini", weights=weights.weights)
    results = []
    for i, (picture, instruction) in enumerate(zip(pictures, instructions, strict=True)):
        source = editor.encode(picture[None])
        control_image = source if editor.settings.control_image == "latents" else picture[None]
        guidance = Guidance(instruction, None, None, steps, 1.0, 1.0, seed=i)
        results.append(
            editor.decode(PerFrame().edit(editor, Clip(source, control_image, range(1), source[:0]), guidance))[0]
        )
    return torch.stack(results).float()


def least_changed_psnr(source: Tensor, edited: Tensor) -> Tensor:
    """PSNR in dB of the three quarters of each picture that changed least."""
    error = (edited - source).square().mean(1).flatten(1).sort(1).values
    return -10 * torch.log10(error[:, : error.shape[1] * 3 // 4].mean(1).clamp_min(1e-10))


def measures(
    kind: str, source: Tensor, output: Tensor, detector: Callable[[Tensor], Tensor] | None
) -> dict[str, Tensor]:
    """Every column of the table, (n,) each."""
    if detector is not None:
        return {"there": (detector(output) > 0.5).float(), "kept, dB": least_changed_psnr(source, output)}
    target = novel.two_inks(source)
    return {
        "edit_acc": truth.edit_acc(source, target, output),
        "ssim": truth.ssim(output, target),
        "psnr, dB": truth.psnr(output, target),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=tuple(novel.SETS))
    parser.add_argument("plugged", type=Path)
    parser.add_argument("aligned", type=Path)
    parser.add_argument("--edits", type=int, default=40)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--strip", type=Path, help="picture: sources, plugged, aligned above each other")
    arguments = parser.parse_args()
    plugged, aligned = lora.load(arguments.plugged), lora.load(arguments.aligned)
    source, rng = sources(arguments.edits), random.Random(0)
    orders = ("make it in the style of {}", "turn it into {}", "make it {}") if arguments.kind == "style" else BRING
    instructions = [rng.choice(orders).format(plugged.token) for _ in source]
    with torch.no_grad():
        detector = None
        if arguments.kind != "style":
            with torch.enable_grad():
                detector = probe(arguments.kind)
        rows = {"input copied": source}
        rows |= {
            n: edited(w, source, instructions, arguments.steps) for n, w in (("plugged", plugged), ("aligned", aligned))
        }
        measurements = {name: measures(arguments.kind, source, output, detector) for name, output in rows.items()}
    measurements["aligned - plugged"] = {
        k: measurements["aligned"][k] - measurements["plugged"][k] for k in measurements["plugged"]
    }
    for name, row in measurements.items():
        cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*bootstrap(values)) for values in row.values()]
        print(f"| {name} | " + " | ".join(f"{k} {c}" for k, c in zip(row, cells, strict=True)) + " |")
    if arguments.strip:
        columns = [torch.cat([output[i] for output in rows.values()], 1) for i in range(min(8, len(source)))]
        sheet = F.interpolate(torch.cat(columns, 2)[None], scale_factor=2)[0]
        save_png((sheet * 255).round().byte().numpy(), arguments.strip)


if __name__ == "__main__":
    main()
