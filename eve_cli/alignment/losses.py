"""Score distillation and adversarial losses (EVE, section 3.2), in terms of clean latents."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from eve_cli.diffusion.schedule import Schedule

Weighting = Literal["alpha", "dreamfusion", "uniform"]
GeneratorLoss = Literal["raw", "paper"]
Part = Literal["all", "mean", "change"]
SMALLEST = 1e-4


def weight(schedule: Schedule, t: Tensor, like: Tensor, kind: Weighting) -> Tensor:
    """``c`` of the gradient ``c * (x0 - x0_teacher)`` at timesteps (n,), shaped to broadcast against `like`.

    The paper leaves c(t) open. As factors of ``noise_teacher - noise``, these are 1 (uniform, clamped where there is
    hardly any noise), sigma^2 (DreamFusion), and sigma (alpha, as Adversarial Diffusion Distillation's default: it
    is bounded everywhere and zero where the latents are pure noise).
    """
    alpha, sigma = schedule.at(t, like)
    if kind == "alpha":
        return alpha
    return alpha * sigma if kind == "dreamfusion" else alpha / sigma.clamp_min(0.1)


def distillation(made: Tensor, target: Tensor, factor: Tensor, normalise: bool) -> Tensor:
    """Half the mean of ``factor * (made - target)^2``: its gradient by `made` is that of score distillation.

    `made` and `target` (n, ...) are the student's and the teacher's clean latents; no gradient flows into `target`.
    With `normalise` each sample is divided by its mean |made - target| (Yin et al. 2024), so that the size of the
    gradient does not depend on the timestep or the teacher.
    """
    target = target.detach().to(made.dtype)
    if normalise:
        dims = tuple(range(1, made.ndim))
        factor = factor / (made.detach() - target).abs().mean(dims, keepdim=True).clamp_min(SMALLEST)
    return 0.5 * (factor * (made - target).square()).mean()


def matching(made: Tensor, teacher: Tensor, fake: Tensor) -> Tensor:
    """A loss whose gradient by `made` is ``fake - teacher`` over the mean |made - teacher| (DMD, equation 7).

    `fake` is what a model of the student's own samples makes of the same noisy latents, so the direction is from what
    the student makes to what the teacher would, without the blur of averaging.
    """
    dims = tuple(range(1, made.ndim))
    scale = (made.detach() - teacher).abs().mean(dims, keepdim=True).clamp_min(SMALLEST)
    gradient = (fake - teacher) / scale
    return 0.5 * (made - (made.detach() - gradient.to(made.dtype)).detach()).square().mean()


def part(error: Tensor, which: Part) -> Tensor:
    """What a teacher judges of an error of clips (b, f, ...): all, the mean over the frames, or the rest."""
    if which == "all":
        return error
    mean = error.mean(1, keepdim=True)
    return mean.expand_as(error) if which == "mean" else error - mean


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss, logits of any shape."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def generator(fake: Tensor, kind: GeneratorLoss) -> Tensor:
    """The student's adversarial loss: ``-D``, or as printed in the paper ``-max(0, 1 + D)``.

    The printed form has no gradient where D < -1: on exactly the samples that the discriminator rejects.
    """
    return -fake.mean() if kind == "raw" else -F.relu(1 + fake).mean()


def energy(made: Tensor, real: Tensor) -> Tensor:
    """How much less, or more, the student's latents (n, frames, c, h, w) vary than the teacher's samples (n, ...).

    Half the squared log ratio of the standard deviations of each sample's channels over frames and places, mean over
    channels and samples, times the number of places, so that its gradient does not fall with the size of a clip. It
    says nothing of where: an average over what might be has too little of it, whatever it shows.
    """
    had, has = (x.transpose(1, 2).flatten(2).std(-1).clamp_min(SMALLEST).log() for x in (real, made))
    return 0.5 * (has - had.detach()).square().mean() * made[0, :, 0].numel()


def penalty(real: Tensor, features: list[Tensor]) -> Tensor:
    """R1 on the features that a discriminator reads of real samples: squared gradient, summed, mean over samples."""
    gradients = torch.autograd.grad(real.sum(), features, create_graph=True)
    return torch.stack([g.square().sum() / len(g) for g in gradients]).sum()
