"""From clean latents back to the noise that a sampler would make them of."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from eve_cli.diffusion.samplers import Denoise
from eve_cli.diffusion.schedule import Schedule

LEAST_COSINE = 1e-3
"""A turn from clean latents to pure noise in one step leaves nothing of them; it is kept finite."""


def invert(
    denoise: Denoise,
    schedule: Schedule,
    clean: Tensor,
    timesteps: Tensor,
    *,
    corrections: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> list[Tensor]:
    """The noisy latents at each of the falling `timesteps` (n,), by which `ddim` would come to `clean` (batch, ...).

    DDIM inversion (Song et al. 2021, section 4.3). As alpha and sigma are a cosine and a sine, a step is a turn, and
    needs the velocity where it ends: it is taken from where it begins, and `corrections` times from where it came to
    (fixed-point iterations, Pan et al. 2023), which then is a step of `ddim` backwards. Works where alpha is zero.
    `denoise` is called 1 + corrections times a step.
    """
    path: list[Tensor] = []
    noisy = clean.float()
    alpha, sigma = noisy.new_ones(()), noisy.new_zeros(())
    times = timesteps.flip(0).to(clean.device)
    for step, time in enumerate(times):
        t = time.expand(len(clean))
        alpha_next, sigma_next = schedule.at(t, noisy)
        cosine = (alpha * alpha_next + sigma * sigma_next).clamp(min=LEAST_COSINE)
        sine = sigma_next * alpha - alpha_next * sigma
        found = noisy
        for _ in range(1 + corrections):
            told = denoise(found, t)
            velocity = schedule.velocity(told, schedule.to_noise(found, told, t), t)
            found = (noisy + sine * velocity) / cosine
        alpha, sigma, noisy = alpha_next, sigma_next, found
        path.append(noisy)
        if progress is not None:
            progress(step + 1, len(times))
    return path[::-1]
