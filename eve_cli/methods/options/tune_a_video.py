"""Options of `tune_a_video`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eve_cli.methods.options.base import need_video
from eve_cli.methods.options.captions import Captioned
from eve_cli.methods.options.inverting import need_steps
from eve_cli.settings import setting

if TYPE_CHECKING:
    from eve_cli.editing.request import EditRequest
    from eve_cli.models.config import BundleSettings


@dataclass(frozen=True)
class TuneAVideoOptions(Captioned):
    """How the clip is learned with its caption, and inverted."""

    tune_steps: int = setting(60, "Steps in which the model learns the clip; 0 for none.", min=0)
    tune_lr: float = setting(3e-4, "Learning rate of these steps.", min=0.0)
    corrections: int = setting(1, "Times that each step back to noise is corrected.", min=0, metavar="N")

    def check(self, request: EditRequest) -> None:
        """UsageError for a picture or a single step, too."""
        need_video(request)
        need_steps(request)
        super().check(request)

    def usual(self, settings: BundleSettings) -> dict[str, Any]:
        """50 steps and guidance of 12.5, as the reference; for `mini` as the other methods that invert."""
        own = {"steps": 20, "guidance_scale": 2.0} if settings.name == "mini" else {"steps": 50, "guidance_scale": 12.5}
        return super().usual(settings) | own
