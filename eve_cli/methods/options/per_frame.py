"""Options of `per_frame`."""

from dataclasses import dataclass

from eve_cli.methods.options.base import MethodOptions
from eve_cli.settings import setting


@dataclass(frozen=True)
class PerFrameOptions(MethodOptions):
    """How frames are edited one by one."""

    shared_noise: bool = setting(False, "The same noise for every frame.")
