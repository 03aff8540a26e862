"""Plans for tests that need no source and no model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eve_cli.diffusion.windows import Window
from eve_cli.editing.edit_plan import EditPlan, Provenance, ResolvedEdit
from eve_cli.methods.registry import METHODS
from eve_cli.models.spec import ModelSpec


def make_plan(shots: Sequence[range], windows: Sequence[Window], **values: Any) -> EditPlan:
    """A plan of `eve` with the settings of `mini`, except for `values`."""
    method = values.get("method", "eve")
    settings: dict[str, Any] = {
        "input": "/clip.mp4",
        "output": Path("/out.mp4"),
        "instruction": "make it snowy",
        "caption": None,
        "task": None,
        "method": method,
        "options": METHODS[method].options(),
        "model": ModelSpec(),
        "seed": 7,
        "steps": 3,
        "guidance_scale": 1.0,
        "image_guidance_scale": 1.0,
        "window": 8,
        "overlap": 2,
        "long": "sequential",
        "span": 64,
        "keyframes": 0,
        "cache_interval": 1,
        "cfg_end": 1.0,
        "preserve": True,
        "size": "source",
        "side_by_side": False,
        "codec": "h264",
        "crf": None,
        "lossless": False,
        "start": None,
        "end": None,
        "scene_cuts": "auto",
        "overwrite": False,
        "run_dir": None,
        "on_oom": "retry",
        "picture": False,
    }
    edit = ResolvedEdit(**settings | values)
    provenance = Provenance({}, {"name": "clip.mp4", "sha256": "0"}, {}, {})
    return EditPlan(edit, provenance, tuple(shots), tuple(windows), frame_size=(64, 64))
