"""How much signal and how much noise a noisy latent holds at each timestep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

Prediction = Literal["v", "x0", "eps"]
_FROM_DIFFUSERS: dict[str, Prediction] = {"v_prediction": "v", "sample": "x0", "epsilon": "eps"}
_TO_DIFFUSERS = {ours: theirs for theirs, ours in _FROM_DIFFUSERS.items()}


@dataclass(frozen=True)
class Schedule:
    """Tables of `noisy = alpha * clean + sigma * noise`, and what the network predicts.

    `alpha` and `sigma` are float32 of shape (T,); their squares add up to one. Every method takes `t` as a LongTensor
    of shape (batch,) or (), broadcast over the trailing dimensions of the latents; results are float32 or wider.
    """

    alpha: Tensor
    sigma: Tensor
    prediction: Prediction = "v"
    config: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.prediction == "eps" and not self.alpha.is_meta and float(self.alpha.min()) == 0:
            raise ValueError("A prediction of noise is undefined at zero signal: use v or x0 with zero SNR.")

    @classmethod
    def zero_snr(cls, steps: int = 1000, prediction: Prediction = "v") -> Schedule:
        """Scaled-linear betas, rescaled so that the last step is pure noise (Lin et al. 2023)."""
        return cls.from_diffusers(
            {
                "num_train_timesteps": steps,
                "beta_schedule": "scaled_linear",
                "beta_start": 0.00085,
                "beta_end": 0.012,
                "rescale_betas_zero_snr": True,
                "prediction_type": _TO_DIFFUSERS[prediction],
                "timestep_spacing": "trailing",
                "clip_sample": False,
                "set_alpha_to_one": True,
                "steps_offset": 1,
            }
        )

    @classmethod
    def from_diffusers(cls, config: Mapping[str, Any]) -> Schedule:
        """The same tables as a diffusers scheduler with this config; ValueError for a beta schedule unknown here."""
        steps = int(config.get("num_train_timesteps", 1000))
        kind = config.get("beta_schedule", "linear")
        low, high = float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02))
        if config.get("trained_betas") is not None:
            betas = torch.tensor(config["trained_betas"], dtype=torch.float64)
        elif kind == "linear":
            betas = torch.linspace(low, high, steps, dtype=torch.float64)
        elif kind == "scaled_linear":
            betas = torch.linspace(low**0.5, high**0.5, steps, dtype=torch.float64) ** 2
        elif kind == "squaredcos_cap_v2":  # Nichol and Dhariwal 2021
            angles = (torch.linspace(0, 1, steps + 1, dtype=torch.float64) + 0.008) / 1.008 * torch.pi / 2
            signal = angles.cos() ** 2
            betas = (1 - signal[1:] / signal[:-1]).clamp_max(0.999)
        else:
            raise ValueError(f"Unknown beta schedule {kind!r}: expected linear, scaled_linear or squaredcos_cap_v2.")
        alpha = torch.cumprod(1 - betas, 0).sqrt()
        if config.get("rescale_betas_zero_snr", False):
            alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
        prediction = _FROM_DIFFUSERS[config.get("prediction_type", "epsilon")]
        return cls(alpha.float(), (1 - alpha**2).sqrt().float(), prediction, dict(config))

    @property
    def steps(self) -> int:
        """T, the number of timesteps; they count from 0 (nearly clean) to T - 1 (the noisiest)."""
        return len(self.alpha)

    def to(self, device: torch.device | str) -> Schedule:
        return replace(self, alpha=self.alpha.to(device), sigma=self.sigma.to(device))

    def at(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """`alpha` and `sigma` at `t`, shaped to broadcast against `like`."""
        t = t.to(like.device)
        shape = (*t.shape, *(1,) * (like.ndim - t.ndim))
        return self.alpha.to(like.device)[t].view(shape), self.sigma.to(like.device)[t].view(shape)

    def add_noise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.at(t, clean)
        return alpha * clean + sigma * noise

    def velocity(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """`v = alpha * noise - sigma * clean` (Salimans & Ho 2022)."""
        alpha, sigma = self.at(t, clean)
        return alpha * noise - sigma * clean

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network is trained to put out."""
        if self.prediction == "v":
            return self.velocity(clean, noise, t)
        return clean if self.prediction == "x0" else noise

    def to_clean(self, noisy: Tensor, output: Tensor, t: Tensor) -> Tensor:
        """The clean latents that a network output predicts."""
        alpha, sigma = self.at(t, noisy)
        if self.prediction == "v":
            return alpha * noisy - sigma * output
        return output if self.prediction == "x0" else (noisy - sigma * output) / alpha

    def of_output(self, error: Tensor, t: Tensor) -> Tensor:
        """An error of the clean latents as one of the network's output; bounded where there is hardly any noise."""
        alpha, sigma = self.at(t, error)
        if self.prediction == "x0":
            return error
        scaled = error / sigma.clamp_min(0.05)
        return alpha * scaled if self.prediction == "eps" else scaled

    def to_noise(self, noisy: Tensor, clean: Tensor, t: Tensor) -> Tensor:
        """The noise left when `clean` is taken out of `noisy`; safe at zero SNR."""
        alpha, sigma = self.at(t, noisy)
        return (noisy - alpha * clean) / sigma

    def matched(self, t: Tensor, other: Schedule) -> Tensor:
        """The timesteps of `other` with the noise level of these (n,), clamped to its range."""
        if other is self:
            return t
        angles, other_angles = (torch.atan2(s.sigma.to(t.device), s.alpha.to(t.device)) for s in (self, other))
        return (angles[t].unsqueeze(-1) - other_angles).abs().argmin(-1)

    def edges(self, bins: int) -> list[int]:
        """`bins` + 1 rising borders that split the timesteps evenly, from 0 to T."""
        if not 1 <= bins <= self.steps:
            raise ValueError(f"{bins} steps of a schedule of {self.steps}: use between 1 and {self.steps}.")
        upper = np.round(np.arange(self.steps, 0, -self.steps / bins))[:bins].astype(int)
        return [0, *(int(edge) for edge in upper[::-1])]

    def trailing(self, n: int) -> Tensor:
        """`n` falling timesteps, the first T - 1: the upper edge of each bin, as diffusers' trailing spacing."""
        return torch.tensor(self.edges(n)[:0:-1]) - 1

    def kbin(
        self, k: int, generator: torch.Generator | None = None, anchor_first: bool = True, batch: int | None = None
    ) -> Tensor:
        """`k` falling timesteps, one drawn from each of `k` even bins (EVE, section 3.3), shape (k,) or (k, batch).

        With `anchor_first` the first is always T - 1, the only timestep whose latents are pure noise, which is what
        sampling starts from.
        """
        edges = self.edges(k)
        shape = (1 if batch is None else batch,)
        rows = [torch.randint(low, high, shape, generator=generator) for low, high in pairwise(edges)]
        timesteps = torch.stack(rows[::-1])
        if anchor_first:
            timesteps[0] = self.steps - 1
        return timesteps[:, 0] if batch is None else timesteps


def diffusers_config(schedule: Schedule) -> dict[str, Any]:
    """The diffusers scheduler config that a schedule came from; ValueError if it was made from bare tables."""
    if not schedule.config:
        raise ValueError("This schedule was made from tables and has no diffusers config.")
    return {key: value for key, value in cast(dict[str, Any], schedule.config).items() if not key.startswith("_")}
