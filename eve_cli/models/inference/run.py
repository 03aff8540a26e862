"""What one sampling run asks of the networks, and what its steps hand on to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from eve_cli.diffusion.samplers import Denoise
from eve_cli.models.inference.process_group import Team
from eve_cli.models.inference.windows import Windows


@dataclass
class Run:
    """The way a clip is sampled; made anew for each clip, as it keeps what its steps hand on.

    `windows` are those of temporal layers, None where they see the clip whole. With `refresh` n, layers behind the
    first `outer` skips of a network are computed every n-th step alone, and taken from the last such step otherwise
    (DeepCache, Ma et al. 2023): less work for results that differ a little. `guided` is how many steps, from the first
    on, are guided; None means all.
    """

    windows: Windows | None = None
    refresh: int = 1
    outer: int = 1
    guided: int | None = None
    keys: tuple[int, ...] = (0,)
    """The frames of the clip whose clean latents are given."""
    team: Team | None = None
    branches: int = 1
    """Of guidance, computed at once: text and output hold so many times the rows of one, all else holds one's."""
    shown: int = 1
    """Those of them, the first ones, that see the source."""
    step: int = 0
    """The step that is made, from 1."""
    branch: int = 0
    kept: dict[Any, Tensor] = field(default_factory=dict)

    @property
    def fresh(self) -> bool:
        """Whether this step computes all layers."""
        return (self.step - 1) % self.refresh == 0

    def own(self, clips: Tensor) -> Tensor:
        """This process's frames of clips (b, f, ...)."""
        return clips if self.team is None else clips[:, self.team.own.start : self.team.own.stop]

    def shared(self, denoise: Denoise) -> Denoise:
        """The same denoiser for whole clips, each process doing its frames."""
        team = self.team
        if team is None:
            return denoise
        return lambda noisy, t: team.gathered(denoise(self.own(noisy), t))
