"""Options of `dreamix`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from eve_cli.errors import UsageError
from eve_cli.methods.options.base import MethodOptions
from eve_cli.settings import setting

if TYPE_CHECKING:
    from eve_cli.editing.request import EditRequest
    from eve_cli.models.config import BundleSettings

Preset = Literal["motion", "background", "style", "object", "video", "frames"]


class Combination(NamedTuple):
    """What goes well together: noise to start from, weight of the clip against its frames, steps of learning."""

    strength: float
    alpha: float
    tune_steps: int


MIXED, UNTUNED = Combination(0.95, 0.35, 100), Combination(0.7, 0.35, 0)
# Molad et al. 2023, table 1 and appendix A; there all weights learn, at a rate of 6e-6, in 200 to 300 steps where they
# are mixed, 64 for the clip alone and 50 to 150 for frames alone. Low-rank layers learn at a higher one, in fewer.
PRESETS: dict[Preset, Combination] = {
    "motion": MIXED,
    "background": MIXED,
    "style": UNTUNED,
    "object": UNTUNED,
    "video": Combination(0.95, 1.0, 40),
    "frames": Combination(0.95, 0.0, 60),
}

USUAL: Preset = "motion"
"""The paper edits everything by it where it compares itself with others."""
MINI: Preset = "object"
"""Better for `mini` in edits of all kinds (docs/experiments.md)."""


@dataclass(frozen=True)
class DreamixOptions(MethodOptions):
    """How much of the source is kept, and how the model learns it before."""

    preset: Preset | None = setting(
        None,
        f"What to edit, for what goes well with it; what is given beside it wins (default: {USUAL}; {MINI} for mini).",
    )
    strength: float | None = setting(
        None, "Share of the noise to start from (default: the preset's).", min=0.01, max=1.0
    )
    alpha: float | None = setting(
        None, "Weight of the clip in motion against its frames (default: the preset's).", min=0.0, max=1.0
    )
    tune_steps: int | None = setting(
        None, "Steps in which the model learns the clip; 0 for none (default: the preset's).", min=0
    )
    tune_lr: float = setting(3e-4, "Learning rate of these steps.", min=0.0)
    coarse: int = setting(1, "Make the source this many times smaller first, and large again.", min=1, metavar="N")
    every: int = setting(1, "Edit every Nth frame, and fill in the others afterwards.", min=1, metavar="N")

    def check(self, request: EditRequest) -> None:
        """UsageError where a window would hold less than two frames that are edited."""
        if self.every > 1 and request.window is not None and request.window <= self.every:
            raise UsageError(f"--every {self.every} leaves one frame of --window {request.window}; make that larger.")

    @property
    def combination(self) -> Combination:
        """The preset's, but for what is given beside it."""
        given = {name: value for name in Combination._fields if (value := getattr(self, name)) is not None}
        return PRESETS[self.preset or USUAL]._replace(**given)

    def settled(self, request: EditRequest) -> dict[str, Any]:
        """What the preset stands for too."""
        preset = self.preset or (MINI if request.model == "mini" else USUAL)
        return super().settled(request) | {"preset": preset} | replace(self, preset=preset).combination._asdict()

    def usual(self, settings: BundleSettings) -> dict[str, Any]:
        """The paper samples in 64 steps without guidance; what suits `mini` is in docs/experiments.md."""
        own = {"steps": 10, "guidance_scale": 2.0} if settings.name == "mini" else {"steps": 64}
        return super().usual(settings) | own | {"window": settings.frames * self.every}
