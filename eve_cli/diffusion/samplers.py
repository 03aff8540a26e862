"""Samplers: from noise to clean latents with a denoiser and a schedule, independent of the network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from eve_cli.diffusion.schedule import Schedule

Denoise = Callable[[Tensor, Tensor], Tensor]
"""`denoise(noisy, t) -> clean`: `t` is a LongTensor (batch,); guidance is already inside."""

Correct = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""`correct(step, noisy, clean, t) -> clean`: changes the clean estimate before the step is taken."""


def ddim_step(schedule: Schedule, noisy: Tensor, clean: Tensor, t: Tensor, t_next: Tensor | int) -> Tensor:
    """Moves from `t` to `t_next` along the line from noise to `clean` (DDIM, eta = 0); -1 is the clean end.

    Takes both times, so the timesteps may be any falling list, also one per sample, and works where alpha is zero.
    """
    if isinstance(t_next, int):
        t_next = torch.full_like(t, t_next)
    noise = schedule.to_noise(noisy, clean, t)
    moved = schedule.add_noise(clean, noise, t_next.clamp(min=0))
    ended = (t_next < 0).view(*t_next.shape, *(1,) * (clean.ndim - t_next.ndim)).to(clean.device)
    return torch.where(ended, clean.to(moved.dtype), moved)


def renoised(
    schedule: Schedule, noisy: Tensor, clean: Tensor, t: Tensor, t_next: Tensor, fresh: Tensor, eta: float
) -> Tensor:
    """A step from `t` to `t_next` in which a share `eta` of what is removed comes back as `fresh` noise.

    Song et al. 2021, equation 16; 0 is `ddim_step`, 1 is ancestral sampling. Works where alpha is zero.
    """
    alpha, sigma = schedule.at(t, clean)
    alpha_next, sigma_next = schedule.at(t_next, clean)
    new = eta * sigma_next / sigma * (1 - (alpha / alpha_next).square()).clamp_min(0).sqrt()
    old = (sigma_next.square() - new.square()).clamp_min(0).sqrt()
    return alpha_next * clean + old * schedule.to_noise(noisy, clean, t) + new * fresh


def ddim(
    denoise: Denoise,
    schedule: Schedule,
    noise: Tensor,
    timesteps: Tensor,
    *,
    correct: Correct | None = None,
    progress: Callable[[int, int], None] | None = None,
    fresh: Callable[[int], Tensor] | None = None,
    eta: float = 0.5,
) -> Tensor:
    """Clean latents from `noise` (batch, ...) over falling `timesteps` of shape (n,) or (n, batch).

    `progress(done, of)` is called after each step. With `fresh(step)`, noise in the shape of `noise`, sampling is
    stochastic: a share `eta` of the noise that a step removes comes back new. Differentiable from end to end.
    """
    rows = timesteps.to(noise.device)
    if rows.ndim == 1:
        rows = rows[:, None].expand(-1, len(noise))
    noisy = clean = noise
    for step, t in enumerate(rows):
        clean = denoise(noisy, t)
        if correct is not None:
            clean = correct(step, noisy, clean, t)
        if step + 1 < len(rows):
            following = rows[step + 1]
            if fresh is None:
                noisy = ddim_step(schedule, noisy, clean, t, following)
            else:
                noisy = renoised(schedule, noisy, clean, t, following, fresh(step), eta)
        if progress is not None:
            progress(step + 1, len(rows))
    return clean
