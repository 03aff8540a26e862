"""Score distillation and adversarial losses (EVE, section 3.2), in terms of clean latents."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from eve_cli.alignment.settings import ErrorComponent, GeneratorLoss, Weighting
from eve_cli.diffusion.schedule import Schedule

EPSILON = 1e-4


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


def distillation(sample: Tensor, target: Tensor, factor: Tensor, normalise: bool) -> Tensor:
    """Half the mean of ``factor * (sample - target)^2``; its gradient by `sample` is that of score distillation.

    `sample` and `target` (n, ...) are the student's and the teacher's clean latents; no gradient flows into `target`.
    With `normalise` each sample is divided by its mean |sample - target| (Yin et al. 2024), so that the size of the
    gradient does not depend on the timestep or the teacher.
    """
    target = target.detach().to(sample.dtype)
    if normalise:
        dims = tuple(range(1, sample.ndim))
        factor = factor / (sample.detach() - target).abs().mean(dims, keepdim=True).clamp_min(EPSILON)
    return 0.5 * (factor * (sample - target).square()).mean()


def matching(sample: Tensor, teacher: Tensor, fake: Tensor) -> Tensor:
    """A loss whose gradient by `sample` is ``fake - teacher`` over the mean |sample - teacher| (DMD, equation 7).

    `teacher` and `fake` are the clean latents that the teacher and a model of the student's samples predict from the
    same noisy latents. Their difference points from the student's samples to the teacher's, without the blur of a mean.
    """
    dims = tuple(range(1, sample.ndim))
    scale = (sample.detach() - teacher).abs().mean(dims, keepdim=True).clamp_min(EPSILON)
    gradient = (fake - teacher) / scale
    return 0.5 * (sample - (sample.detach() - gradient.to(sample.dtype)).detach()).square().mean()


def component(error: Tensor, which: ErrorComponent) -> Tensor:
    """A component of the error of clips (b, f, ...): all, the mean over the frames, or the rest (change)."""
    if which == "all":
        return error
    mean = error.mean(1, keepdim=True)
    return mean.expand_as(error) if which == "mean" else error - mean


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's hinge loss for logits of any shape."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def generator(fake: Tensor, kind: GeneratorLoss) -> Tensor:
    """The student's adversarial loss: ``-D``, or as printed in the paper ``-max(0, 1 + D)``.

    The printed form has no gradient where D < -1: for exactly the samples that the discriminator rejects.
    """
    return -fake.mean() if kind == "linear" else -F.relu(1 + fake).mean()


def contrast(sample: Tensor, real: Tensor) -> Tensor:
    """The difference in contrast between the student's latents (n, frames, c, h, w) and the teacher's samples.

    Half the squared log ratio of the standard deviations of each sample's channels over frames and places, mean over
    channels and samples, times the number of places, so that its gradient does not fall with the size of a clip. It
    does not depend on where contrast is; means over several possible results have too little of it.
    """
    target, std = (x.transpose(1, 2).flatten(2).std(-1).clamp_min(EPSILON).log() for x in (real, sample))
    return 0.5 * (std - target.detach()).square().mean() * sample[0, :, 0].numel()


def r1_penalty(real: Tensor, features: list[Tensor]) -> Tensor:
    """R1 (Mescheder et al. 2018) for features of real samples: squared gradient, summed, mean over samples."""
    gradients = torch.autograd.grad(real.sum(), features, create_graph=True)
    return torch.stack([g.square().sum() / len(g) for g in gradients]).sum()
