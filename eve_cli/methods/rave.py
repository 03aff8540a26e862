"""RAVE (Kara et al. 2024): frames edited as tiles of larger pictures, shuffled at each step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eve_cli.diffusion.noise import frame_seed
from eve_cli.diffusion.samplers import ddim
from eve_cli.diffusion.windows import hold_to
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.options import RaveOptions

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


class Rave:
    """The edit adapter on grids of frames: tiles of one picture come out alike, and shuffling mixes all frames."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The edited latents; later windows hold to their overlap."""
        grid, frames = guidance.options_as(RaveOptions).grid, len(clip.source)
        if frames < grid * grid:
            grid = 1
        condition, schedule, step = guidance.condition(editor), editor.image_schedule, 0
        times = schedule.trailing(guidance.steps)

        def denoise(noisy: Tensor, t: Tensor) -> Tensor:
            nonlocal step
            order = shuffled(frames, grid * grid, frame_seed(guidance.seed, step, stream=1))
            control_images = tiled(clip.control_image[order], grid)
            denoise_grid = editor.guided_edit(
                condition.text,
                condition.instruction,
                control_images,
                guidance.labels(editor, len(control_images)),
                guidance_scale=guidance.guidance_scale,
                image_guidance_scale=guidance.image_guidance_scale,
                with_lora=True,
            )
            clean = cut(denoise_grid(tiled(noisy[0, order], grid), t.expand(len(control_images))), grid)
            step += 1
            return clean[[order.index(frame) for frame in range(frames)]][None]

        return ddim(
            denoise,
            schedule,
            clip.noise(guidance.seed)[None],
            times,
            correct=hold_to(clip.reference[None], len(times)) if len(clip.reference) else None,
            progress=clip.progress,
        )[0]


def shuffled(frames: int, tiles: int, seed: int) -> list[int]:
    """All frames in an order by chance, filled up with further ones by chance to whole pictures of so many tiles."""
    g = torch.Generator().manual_seed(seed)
    order = torch.randperm(frames, generator=g).tolist()
    return order + torch.randint(frames, (-frames % tiles,), generator=g).tolist()


def tiled(frames: Tensor, grid: int) -> Tensor:
    """Pictures (n, c, grid * h, grid * w) of frames (n * grid * grid, c, h, w), row by row."""
    rows = frames.unflatten(0, (-1, grid, grid))
    return rows.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def cut(pictures: Tensor, grid: int) -> Tensor:
    """The frames of pictures, as `tiled` put them together."""
    tiles = pictures.unflatten(3, (grid, -1)).unflatten(2, (grid, -1))
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
