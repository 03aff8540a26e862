"""DDIM inversion: the noise from which a sampler would produce the given clean latents."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from eve_cli.diffusion.samplers import Denoise
from eve_cli.diffusion.schedule import Schedule

LEAST_COSINE = 1e-3
"""Lower bound of the cosine of one step: a step from clean latents to pure noise would divide by zero."""


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

    DDIM inversion (Song et al. 2021, section 4.3). As alpha and sigma are a cosine and a sine, a step is a rotation and
    needs the velocity where it ends: it is first predicted where the step begins, then `corrections` times where the
    last estimate ended (fixed-point iterations, Pan et al. 2023), which converges to a step of `ddim` reversed. Works
    where alpha is zero.
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
        latents = noisy
        for _ in range(1 + corrections):
            clean_latents = denoise(latents, t)
            velocity = schedule.velocity(clean_latents, schedule.to_noise(latents, clean_latents, t), t)
            latents = (noisy + sine * velocity) / cosine
        alpha, sigma, noisy = alpha_next, sigma_next, latents
        path.append(noisy)
        if progress is not None:
            progress(step + 1, len(times))
    return path[::-1]
